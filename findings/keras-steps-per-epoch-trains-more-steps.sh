#!/usr/bin/env bash
# fit(steps_per_epoch=20) with steps_per_execution=8 trains 24 steps an epoch.
#
# Keras 3.15.1, TensorFlow 2.21.0 (CPU), Python 3.11, November 2026.
#
# Expected: an epoch has the steps that fit was told, and its last execution is shorter: 8, 8 and 4, as on a dataset that
#   has 20 batches.
# Seen: on data without an end, each epoch is rounded up to whole executions, so more batches and more optimizer steps than
#   were asked for, without a warning. Schedules that count `iterations` run 20 % ahead of the epochs.
# Output: 2 epochs of 20, in executions of 8: 40 steps on a dataset of 20 batches, 48 on endless data (2026-11-30)
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
python - <<'END'
import sys

import keras
import numpy as np
import tensorflow as tf

batch = tf.data.Dataset.from_tensors((np.ones((2, 3), "float32"), np.ones((2, 1), "float32")))


def steps(data, **options):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=8)
    model.fit(data, epochs=2, verbose=0, **options)
    return int(model.optimizer.iterations)


finite, endless = steps(batch.repeat(20)), steps(batch.repeat(), steps_per_epoch=20)
print(f"2 epochs of 20, in executions of 8: {finite} steps on a dataset of 20 batches, {endless} on endless data")
sys.exit((finite, endless) != (40, 48))
END

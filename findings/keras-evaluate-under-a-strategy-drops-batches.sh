#!/usr/bin/env bash
# Under a tf.distribute strategy each `evaluate` takes data before it begins, and throws it away.
#
# Keras 3.15.1, TensorFlow 2.21.0 (CPU), Python 3.11, November 2026.
#
# Expected: a strategy says where a model computes, and not which data. `evaluate(steps=1)` on a stream that goes on where
#   it was left computes the stream's next batch: 0 the first time.
# Seen: with any strategy, even of one device, each call of `evaluate` and `fit` makes an iterator, takes a batch of it to
#   build the model from, also of a model that is built, and starts again with a new one. What it took (and what was
#   prefetched meanwhile) is computed never, before on_test_begin, and without a warning; a dataset that starts at its
#   beginning makes its first batches twice.
# Output: data taken before on_test_begin: no without a strategy, yes with one; first batch computed: 0, a later one
#   (2026-11-30)
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
python - <<'END'
import contextlib
import itertools
import sys

import keras
import numpy as np
import tensorflow as tf

SIGNATURE = (tf.TensorSpec((2, 3)), tf.TensorSpec((2, 1)))


def target(y_true, y_pred):
    return y_true


def evaluated(scope):
    taken, taken_before = [], []
    stream = ((taken.append(i), np.ones((2, 3)), np.full((2, 1), i))[1:] for i in itertools.count())
    with scope:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=[target])
    callback = keras.callbacks.LambdaCallback()
    callback.on_test_begin = lambda logs=None: taken_before.extend(taken)
    data = tf.data.Dataset.from_generator(lambda: stream, output_signature=SIGNATURE)
    first = model.evaluate(data, steps=1, verbose=0, callbacks=[callback], return_dict=True)["target"]
    return "yes" if taken_before else "no", "0" if first == 0 else "a later one"


plain, under = evaluated(contextlib.nullcontext()), evaluated(tf.distribute.OneDeviceStrategy("CPU:0").scope())
print(
    f"data taken before on_test_begin: {plain[0]} without a strategy, {under[0]} with one; "
    f"first batch computed: {plain[1]}, {under[1]}"
)
sys.exit((plain, under) != (("no", "0"), ("yes", "a later one")))
END

#!/usr/bin/env bash
# On a tf.data dataset of unknown length, fit counts one optimizer step too many at the end of each epoch, and reports too
# low a loss.
#
# Keras 3.15.1, TensorFlow 2.21.0 (CPU), Python 3.11, November 2026.
#
# Expected: 8 batches in each of 2 epochs are 16 steps of the optimizer, and the epoch's loss is the mean over 8 batches.
#   Whether tf.data knows the length beforehand (`filter` makes it unknown) makes no difference.
# Seen: with an unknown length, the step that finds the dataset's end has half run: `optimizer.iterations` grows by 9 an
#   epoch. With batches of a static shape (`drop_remainder=True`) the loss metric counts that step too, so the reported
#   loss is 8/9 of the true one. A learning-rate schedule and Adam's bias correction, which read `iterations`, are off by
#   one more step with each epoch.
# Output: known length: 16 steps, loss 25.50; unknown length: 18 steps, loss 22.67
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
python - <<'END'
import sys
import warnings

import keras
import numpy as np
import tensorflow as tf

warnings.simplefilter("ignore")
x = np.arange(1, 9, dtype="float32")[:, None]


def fitted(data):
    """The optimizer's count and the last loss; nothing is learnt, so that the true loss is known."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    history = model.fit(data, epochs=2, verbose=0)
    return f"{int(model.optimizer.iterations)} steps, loss {history.history['loss'][-1]:.2f}"


known = tf.data.Dataset.from_tensor_slices((x, x)).batch(1, drop_remainder=True)
line = f"known length: {fitted(known)}; unknown length: {fitted(known.filter(lambda x, y: True))}"
print(line)
sys.exit(line != "known length: 16 steps, loss 25.50; unknown length: 18 steps, loss 22.67")
END

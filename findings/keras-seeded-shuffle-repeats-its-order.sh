#!/usr/bin/env bash
# After keras.utils.set_random_seed, fit(x, y, shuffle=True) gives every epoch the same order.
#
# Keras 3.15.1, TensorFlow 2.21.0 (CPU), Python 3.11, November 2026.
#
# Expected: the seed makes the whole training repeatable, and each epoch has a new order, as without a seed; 'shuffle' is
#   documented as "whether to shuffle the training data before each epoch".
# Seen: with a seed, all epochs have one order: the shuffle's kernel is made anew for each epoch, and begins with the same
#   seed again. A seed that is set for repeatability also ends the shuffling between epochs, without a warning.
# Output: different orders in 3 epochs: 3 without a seed, 1 with one
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
python - <<'END'
import sys

import keras
import numpy as np


class Recorder(keras.Model):
    """Learns nothing, and notes which samples each batch has."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def train_step(self, data):
        self.batches.append(tuple(np.asarray(data[0]).ravel()))
        return {"loss": 0.0}


def orders():
    model = Recorder()
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.arange(1000, dtype="float32")[:, None]
    model.fit(x, x, batch_size=1000, epochs=3, shuffle=True, verbose=0)
    return len(set(model.batches))


unseeded = orders()
keras.utils.set_random_seed(1)
seeded = orders()
print(f"different orders in 3 epochs: {unseeded} without a seed, {seeded} with one")
sys.exit((unseeded, seeded) != (3, 1))
END

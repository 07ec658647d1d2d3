"""Two models, one after the other. The first one's depends on a count that no pair holds; the second is exact."""

import itertools
import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

import holdfast

keras.utils.set_random_seed(1)
x = np.random.default_rng(0).random((640, 8), "float32")
y = x.sum(axis=1, keepdims=True)
counter = itertools.count(2)  # an iterator: its position cannot be read, and so not be kept


class Counts(keras.callbacks.Callback):
    """Scales the learning rate by what only this process knows."""

    def on_train_batch_end(self, batch, logs=None):
        self.model.optimizer.learning_rate = 0.01 / next(counter)
        time.sleep(0.02)


def model():
    found = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    found.compile("sgd", "mse")
    return found


def train():
    return holdfast.dataset(x, y, batch_size=32, seed=1)


artifacts = holdfast.run_dir() / "artifacts"
board = keras.callbacks.TensorBoard(str(artifacts / "logs"), write_steps_per_second=True)
best = keras.callbacks.ModelCheckpoint(str(artifacts / "best.keras"), monitor="loss", save_best_only=True)
first = model()
first.fit(train(), epochs=3, verbose=0, callbacks=[Counts(), holdfast.Resume()])
second = model()
second.fit(train(), epochs=2, verbose=0, callbacks=[board, best, holdfast.Resume()])

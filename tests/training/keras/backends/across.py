"""A training in a process of its own, whose backend is that of its environment: it continues what is in a folder.

Usage: across.py FOLDER [EPOCH BATCH], where it is stopped. Prints what it begins with, as JSON. With OTHER_BACKEND in
its environment a checkpoint of another backend is continued.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import keras
import numpy as np

import holdfast

X = np.random.default_rng(0).random((48, 4), "float32")
Y = X.sum(1, keepdims=True)


class Watch(keras.callbacks.Callback):
    epoch = 0
    told = False

    def get_state(self) -> None:
        return None

    def set_state(self, state: Any) -> None:
        pass

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if not self.told:
            self.told = True
            kernel, slot = self.model.layers[0].kernel, self.model.optimizer.variables[2]
            values = {"kernel": np.asarray(kernel).tolist(), "slot": np.asarray(slot).tolist()}
            steps = int(np.asarray(self.model.optimizer.iterations))
            print(json.dumps({"at": [self.epoch, batch, steps], **values}), flush=True)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if [self.epoch, batch] == list(map(int, sys.argv[2:])):
            os.kill(os.getpid(), signal.SIGTERM)


keras.utils.set_random_seed(1)
hidden = [keras.layers.Dense(6, "relu"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]
model = keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(1)])
model.compile("adam", "mse", metrics=["mae"])
resume = holdfast.Resume(sys.argv[1], other_backend="OTHER_BACKEND" in os.environ)
model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=[Watch(), resume])

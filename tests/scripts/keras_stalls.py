"""A Keras training whose data comes from worker threads; one of them hangs for ever, once (ONCE does not exist)."""

import os
import threading
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

import holdfast

once = Path(os.environ["ONCE"])
armed = once.with_name("armed")  # after the first epoch


def wait_for_nobody() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


class Samples(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if number == 5 and armed.exists() and not once.exists():
            once.touch()
            wait_for_nobody()
        return np.full((8, 4), number, "float32"), np.zeros((8, 1), "float32")


class ArmAfterFirstEpoch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        armed.touch()


keras.utils.set_random_seed(1)
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
model.compile("adam", "mse", jit_compile=True)
model.fit(
    Samples(workers=2),
    epochs=3,
    shuffle=False,
    verbose=2,
    validation_data=(np.zeros((64, 4), "float32"), np.zeros((64, 1), "float32")),
    callbacks=[ArmAfterFirstEpoch(), holdfast.Resume()],
)
print("done")

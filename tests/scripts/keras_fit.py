"""A user's own script: arrays, Dropout, BatchNormalization, validation data, two stock callbacks, and holdfast's.

Environment: UNITS (width of a layer), HOLD_AT (stay at that batch of the second epoch), EPOCHS, PACE (seconds
that a batch takes), JIT (compile with XLA), EVERY (batches between saves).
"""

import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

import holdfast


class HoldAt(keras.callbacks.Callback):
    """Makes a moment last, so that a test can strike in it."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(float(os.environ.get("PACE", "0")))
        if self.epoch == 1 and batch == int(os.environ.get("HOLD_AT", "-1")):
            print("holding", flush=True)
            until = time.monotonic() + 30
            while time.monotonic() < until and not os.path.exists(os.environ["LET_GO"]):
                time.sleep(0.01)


keras.utils.set_random_seed(11)
rng = np.random.default_rng(3)
x, y = rng.random((160, 12), "float32"), rng.integers(0, 3, 160)
layers = keras.layers
model = keras.Sequential(
    [
        layers.Input((12,)),
        layers.Dense(int(os.environ.get("UNITS", "16")), activation="relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.4),
        layers.Dense(3, activation="softmax"),
    ]
)
jit = True if "JIT" in os.environ else "auto"
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=jit)
model.fit(
    x,
    y,
    batch_size=16,
    epochs=int(os.environ.get("EPOCHS", "3")),
    shuffle=False,
    validation_data=(x[:40], y[:40]),
    callbacks=[
        keras.callbacks.EarlyStopping(patience=5),
        keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=1.0),
        HoldAt(),
        holdfast.Resume(every=int(os.environ["EVERY"]) if "EVERY" in os.environ else "epoch"),
    ],
    verbose=2,
)
if "JIT" in os.environ:
    print("compiled by XLA:", model.jit_compile)
print("evaluated", model.evaluate(x, y, verbose=0))

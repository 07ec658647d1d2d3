"""Fine-tunes a head on a frozen backbone of 27 MB. Environment: PACE (seconds that a batch takes)."""

import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

import holdfast

WIDTH = 2600
keras.utils.set_random_seed(11)
rng = np.random.default_rng(3)
x, y = rng.random((160, WIDTH), "float32"), rng.integers(0, 3, 160)
layers = keras.layers
backbone = layers.Dense(WIDTH, activation="relu", trainable=False)
model = keras.Sequential([layers.Input((WIDTH,)), backbone, layers.Dropout(0.4), layers.Dense(3, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
pace = float(os.environ.get("PACE", "0"))
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(pace))
callbacks = [slow, holdfast.Resume(every=1)]
model.fit(x, y, batch_size=16, epochs=4, shuffle=False, callbacks=callbacks, verbose=2)

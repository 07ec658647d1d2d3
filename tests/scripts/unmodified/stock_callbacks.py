"""Forecasts a series with three stock callbacks.

Environment: PACE (seconds that a batch takes).
"""

import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(812)
series = np.sin(np.arange(600) / 9) + 0.1 * np.random.default_rng(1).standard_normal(600)
windows = np.stack([series[i : i + 24] for i in range(570)]).astype("float32")
targets = series[24 : 24 + 570].astype("float32")

model = keras.Sequential(
    [keras.Input((24, 1)), layers.Conv1D(8, 5, activation="relu"), layers.Flatten(), layers.Dense(1)]
)
model.compile("adam", "mae")
pace = float(os.environ.get("PACE", "0"))
history = model.fit(
    windows[:480, :, None],
    targets[:480],
    batch_size=32,
    epochs=4,
    validation_data=(windows[480:, :, None], targets[480:]),
    callbacks=[
        keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True),
        keras.callbacks.BackupAndRestore("backup"),
        keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=0.1),
        keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(pace)),
    ],
    verbose=2,
)
print("losses", [round(loss, 6) for loss in history.history["loss"]])

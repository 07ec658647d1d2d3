"""Keras on JAX on several machines: arrays that are shared out by rank, all kinds of state, a stock callback.

Environment: EPOCHS, PACE (seconds that a batch takes).
"""

import os
import time

import jax
import keras
import numpy as np

import holdfast

keras.utils.set_random_seed(7)
keras.distribution.initialize()
keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
rank, ranks = jax.process_index(), jax.process_count()

rng = np.random.default_rng(0)
x = rng.random((480, 6), "float32")
y = x.sum(axis=1, keepdims=True)
held_out = (x[:96][rank::ranks], y[:96][rank::ranks])
x, y = x[rank::ranks], y[rank::ranks]
layers = keras.layers
model = keras.Sequential(
    [
        keras.Input((6,)),
        layers.Dense(16, "relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.2),
        layers.Dense(1),
    ]
)
model.compile("adam", "mse", metrics=["mae"])
slowly = keras.callbacks.LambdaCallback(
    on_train_batch_end=lambda batch, logs: time.sleep(float(os.environ.get("PACE", "0")))
)
best = keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
model.fit(
    x,
    y,
    batch_size=16,
    epochs=int(os.environ.get("EPOCHS", "6")),
    validation_data=held_out,
    verbose=0,
    callbacks=[slowly, best, holdfast.Resume()],
)

"""Trains a head on a frozen base, then fine-tunes all of it at a lower rate.

Environment: PACE (seconds that a batch takes).
"""

import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(3)
rng = np.random.default_rng(11)
x = rng.random((320, 8, 8, 1), "float32")
y = (x.mean(axis=(1, 2, 3)) > 0.5).astype("int32")
base = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(6, 3, activation="relu"), layers.BatchNormalization()])
inputs = keras.Input((8, 8, 1))
outputs = layers.Dense(1, "sigmoid")(layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(base(inputs, training=False))))
model = keras.Model(inputs, outputs)
pace = float(os.environ.get("PACE", "0"))
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(pace))

base.trainable = False
model.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
model.fit(x, y, batch_size=32, epochs=2, callbacks=[slow], verbose=2)
base.trainable = True
model.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy")
model.fit(x, y, batch_size=32, epochs=2, callbacks=[slow], verbose=2)
print("accuracy", float(((model.predict(x, verbose=0)[:, 0] > 0.5) == y).mean()))

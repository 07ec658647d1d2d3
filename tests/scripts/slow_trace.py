"""A model whose first step, or first validation step, takes long to trace. Arguments: directory, 'train' or 'test'."""

import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np

import holdfast

moment, ready = "train", False


class SayValidating(keras.callbacks.Callback):
    def on_test_begin(self, logs=None):
        global moment
        moment = "test"


class SlowToTrace(keras.layers.Layer):
    def call(self, inputs, training=False):
        if sys.argv[2] == moment and not os.path.exists(sys.argv[1] + ".go") and ready:
            print("tracing", flush=True)
            time.sleep(30)
        return inputs * 2


keras.utils.set_random_seed(1)
x = np.random.default_rng(0).random((32, 4)).astype("float32")
model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(4), SlowToTrace()])
ready = True
model.compile("adam", "mse", metrics=["mae"])
history = model.fit(
    holdfast.dataset(x, x, batch_size=8, seed=1),
    epochs=2,
    validation_data=(x, x),
    shuffle=False,
    verbose=0,
    callbacks=[SayValidating(), holdfast.Resume(sys.argv[1])],
)
print("ended", history.history)

"""A PyDataset that shuffles its samples after each epoch.

Environment: PACE (seconds that a batch takes).
"""

import math
import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(21)


class Samples(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y, self.batch_size = x, y, batch_size
        self.order = np.arange(len(x))
        self.rng = np.random.default_rng(8)
        self.on_epoch_end()

    def __len__(self):
        return math.ceil(len(self.x) / self.batch_size)

    def __getitem__(self, index):
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return self.x[chosen], self.y[chosen]

    def on_epoch_end(self):
        self.rng.shuffle(self.order)


rng = np.random.default_rng(6)
x = rng.random((500, 12), "float32")
y = x.sum(axis=1, keepdims=True)
model = keras.Sequential([keras.Input((12,)), layers.Dense(16, "relu"), layers.Dropout(0.2), layers.Dense(1)])
model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", metrics=["mae"])
pace = float(os.environ.get("PACE", "0"))
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(pace))
model.fit(Samples(x, y, 32), epochs=3, callbacks=[slow], verbose=2)
print(model.evaluate(x, y, verbose=0))

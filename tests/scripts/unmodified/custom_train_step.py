"""A classifier with a train_step of its own: a proximal penalty and a moving average of the loss.

Environment: PACE (seconds that a batch takes).
"""

import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(1337)


class Classifier(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(24, activation="relu")
        self.drop = layers.Dropout(0.3)
        self.out = layers.Dense(3)
        self.average = self.add_weight(shape=(), initializer="zeros", trainable=False, name="average")
        self.tracker = keras.metrics.Mean(name="penalty")

    def call(self, x, training=False):
        return self.out(self.drop(self.hidden(x), training=training))

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            logits = self(x, training=True)
            penalty = tf.add_n([tf.reduce_sum(w**2) for w in self.trainable_weights])
            loss = self.compute_loss(x, y, logits) + 1e-4 * penalty
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        self.average.assign(0.9 * self.average + 0.1 * loss)
        self.tracker.update_state(penalty)
        for metric in self.metrics:
            if metric.name not in ("loss", "penalty"):
                metric.update_state(y, logits)
        return {"running": self.average, **{m.name: m.result() for m in self.metrics}}


rng = np.random.default_rng(5)
x = rng.standard_normal((640, 10)).astype("float32")
y = (x[:, :3] + 0.2 * rng.standard_normal((640, 3))).argmax(axis=1)
model = Classifier()
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
pace = float(os.environ.get("PACE", "0"))
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(pace))
history = model.fit(x, y, batch_size=32, epochs=3, callbacks=[slow], verbose=2)
print("final", history.history["loss"][-1])

"""A GAN with two optimizers, on a ring of points.

Environment: PACE (seconds that a batch takes).
"""

import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(7)
LATENT = 4


class GAN(keras.Model):
    def __init__(self, discriminator, generator):
        super().__init__()
        self.discriminator, self.generator = discriminator, generator
        self.seed_generator = keras.random.SeedGenerator(1337)
        self.d_tracker = keras.metrics.Mean(name="d_loss")
        self.g_tracker = keras.metrics.Mean(name="g_loss")

    def compile(self, d_optimizer, g_optimizer, loss_fn):
        super().compile()
        self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

    def train_step(self, real):
        size = tf.shape(real)[0]
        noise = keras.random.normal((size, LATENT), seed=self.seed_generator)
        points = tf.concat([self.generator(noise), real], 0)
        labels = tf.concat([tf.ones((size, 1)), tf.zeros((size, 1))], 0)
        labels += 0.05 * keras.random.uniform(tf.shape(labels), seed=self.seed_generator)
        with tf.GradientTape() as tape:
            d_loss = self.loss_fn(labels, self.discriminator(points))
        self.d_optimizer.apply(
            tape.gradient(d_loss, self.discriminator.trainable_weights), self.discriminator.trainable_weights
        )
        noise = keras.random.normal((size, LATENT), seed=self.seed_generator)
        with tf.GradientTape() as tape:
            g_loss = self.loss_fn(tf.zeros((size, 1)), self.discriminator(self.generator(noise)))
        self.g_optimizer.apply(
            tape.gradient(g_loss, self.generator.trainable_weights), self.generator.trainable_weights
        )
        self.d_tracker.update_state(d_loss)
        self.g_tracker.update_state(g_loss)
        return {"d_loss": self.d_tracker.result(), "g_loss": self.g_tracker.result()}


angles = np.random.default_rng(2).uniform(0, 2 * np.pi, 640)
ring = np.stack([np.cos(angles), np.sin(angles)], 1).astype("float32")
discriminator = keras.Sequential(
    [keras.Input((2,)), layers.Dense(16, "leaky_relu"), layers.Dropout(0.2), layers.Dense(1)]
)
generator = keras.Sequential([keras.Input((LATENT,)), layers.Dense(16, "leaky_relu"), layers.Dense(2)])
gan = GAN(discriminator, generator)
gan.compile(
    keras.optimizers.Adam(3e-4), keras.optimizers.Adam(1e-3, 0.5), keras.losses.BinaryCrossentropy(from_logits=True)
)
data = tf.data.Dataset.from_tensor_slices(ring).batch(32)
pace = float(os.environ.get("PACE", "0"))
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(pace))
gan.fit(data, epochs=3, callbacks=[slow], verbose=2)
print("a point", generator(np.ones((1, LATENT), "float32")).numpy())

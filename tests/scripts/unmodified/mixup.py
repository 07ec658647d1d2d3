"""Mixup of two shuffled datasets, as in Keras' example, with seeds.

Environment: PACE (seconds that a batch takes).
"""

import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(99)
rng = np.random.default_rng(4)
images = rng.random((480, 8, 8, 1), "float32")
labels = keras.utils.to_categorical(rng.integers(0, 4, 480), 4).astype("float32")


def shuffled(seed):
    return tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(480, seed=seed).batch(32)


def mix(one, two):
    (images_one, labels_one), (images_two, labels_two) = one, two
    share = tf.reduce_mean(images_one, axis=(1, 2, 3))
    wide = tf.reshape(share, (-1, 1, 1, 1))
    return images_one * wide + images_two * (1 - wide), labels_one * share[:, None] + labels_two * (1 - share[:, None])


train = tf.data.Dataset.zip((shuffled(1), shuffled(2))).map(mix, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)
model = keras.Sequential(
    [keras.Input((8, 8, 1)), layers.Conv2D(6, 3, activation="relu"), layers.BatchNormalization(), layers.Flatten(),
     layers.Dense(4, activation="softmax")]
)  # fmt: skip
model.compile(keras.optimizers.AdamW(1e-3), "categorical_crossentropy", metrics=["accuracy"])
pace = float(os.environ.get("PACE", "0"))
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(pace))
model.fit(train, epochs=3, callbacks=[slow], verbose=2)

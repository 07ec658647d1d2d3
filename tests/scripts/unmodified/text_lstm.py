"""Sentiment of short texts: TextVectorization, Embedding, LSTM.

Environment: PACE (seconds that a batch takes).
"""

import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf
from keras import layers

keras.utils.set_random_seed(42)
rng = np.random.default_rng(0)
good, bad, other = ["good", "fine", "lovely"], ["bad", "awful", "dull"], ["film", "plot", "music", "end", "cast"]
labels = rng.integers(0, 2, 512)
texts = [" ".join(rng.choice(other + (good if label else bad), 8)) for label in labels]

vectorize = layers.TextVectorization(max_tokens=50, output_sequence_length=8)
vectorize.adapt(texts)
train = tf.data.Dataset.from_tensor_slices((texts, labels)).batch(32).map(lambda text, label: (vectorize(text), label))
model = keras.Sequential(
    [keras.Input((8,), dtype="int64"), layers.Embedding(50, 8), layers.LSTM(8, dropout=0.2), layers.Dense(1, "sigmoid")]
)
model.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
pace = float(os.environ.get("PACE", "0"))
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(pace))
model.fit(train, epochs=3, callbacks=[slow, keras.callbacks.EarlyStopping("loss", patience=3)], verbose=2)
full = keras.Sequential([keras.Input((1,), dtype="string"), vectorize, model])
print("good film", full.predict(tf.constant([["good film"]]), verbose=0))

"""``train-wine --epochs N``: what a package's console script runs.

Environment: PACE (seconds that a batch takes).
"""

import argparse
import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    epochs = parser.parse_args().epochs

    import numpy as np
    from tensorflow import keras

    keras.utils.set_random_seed(5)
    rng = np.random.default_rng(9)
    x = rng.random((384, 11), "float32")
    y = (x @ rng.random(11)).astype("float32")
    model = keras.Sequential([keras.Input((11,)), keras.layers.Dense(16, "tanh"), keras.layers.Dense(1)])
    model.compile("nadam", "huber")
    pace = float(os.environ.get("PACE", "0"))
    slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(pace))
    model.fit(x, y, batch_size=32, epochs=epochs, validation_split=0.1, callbacks=[slow], verbose=2)

"""What benchmarks/gang.py starts on each rank: Keras on JAX, a state of some 25 MB.

Environment: STAMP (rank 0 writes the time of its first batch's end to that file), PLAIN (without holdfast).
"""

import os
import time
from pathlib import Path

import jax
import keras
import numpy as np

keras.utils.set_random_seed(7)
keras.distribution.initialize()
keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))


class Stamp(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        stamp = Path(os.environ["STAMP"])
        if jax.process_index() == 0 and not stamp.exists():
            stamp.write_text(str(time.time()))
        time.sleep(0.02)


layers = keras.layers
model = keras.Sequential([keras.Input((1024,)), layers.Dense(1024), layers.Dropout(0.1), layers.Dense(1024)])
model.compile("adam", "mse")
x = np.random.default_rng(jax.process_index()).random((320, 1024), "float32")
callbacks = [Stamp()]
if "PLAIN" not in os.environ:
    import holdfast

    callbacks.append(holdfast.Resume())
model.fit(x, x, batch_size=32, epochs=1000, verbose=0, callbacks=callbacks)

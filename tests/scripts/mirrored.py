"""A training on two replicas (two logical CPUs), with BatchNormalization's statistics kept by each of them.

Arguments: directory, where to print the final state's hash, and 'epoch,batch' to stop at.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

import holdfast

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
stop = tuple(int(n) for n in sys.argv[3].split(",")) if len(sys.argv) > 3 else None


class StopAt(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if stop == (self.epoch, batch):
            os.kill(os.getpid(), signal.SIGTERM)


keras.utils.set_random_seed(5)
rng = np.random.default_rng(3)
x, y = rng.random((64, 6), "float32"), rng.random((64, 1), "float32")
layers = keras.layers
with strategy.scope():
    model = keras.Sequential(
        [layers.Input((6,)), layers.Dense(8), layers.BatchNormalization(), layers.Dropout(0.2), layers.Dense(1)]
    )
    model.compile("adam", "mse", metrics=["mae"])
data = holdfast.dataset(x, y, batch_size=16, seed=1, drop_remainder=True)
history = model.fit(data, epochs=3, verbose=0, shuffle=False, callbacks=[StopAt(), holdfast.Resume(sys.argv[1])])
copies = [copy for v in [*model.variables, *model.optimizer.variables] for copy in v.value.values]
state = hashlib.sha256(b"".join(copy.numpy().tobytes() for copy in copies)).hexdigest()
Path(sys.argv[2]).write_text(f"{len(copies)} {state} {history.history}")

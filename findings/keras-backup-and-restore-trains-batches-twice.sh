#!/usr/bin/env bash
# Keras 3's BackupAndRestore(save_freq=N) restores the weights of a batch, and begins that batch's epoch again from its start.
#
# Keras 3.15.1, tf_keras 2.21.0, TensorFlow 2.21.0 (CPU), Python 3.11, November 2026.
#
# Expected: a backup that is made each batch lets a training that was interrupted in an epoch go on at the next batch, as the
#   callback of the same name and argument does in tf_keras (Keras 2): 2 epochs of 10 batches are 20 steps.
# Seen: Keras 3 writes the batch into training_metadata.json, and reads only the epoch from it. The weights and the optimizer
#   have trained on the first batches of the epoch, and train on them once more, without a warning. Schedules that count
#   `iterations` run ahead by as much, with each interruption.
# Output: interrupted after 15 of 20 steps, the backup says batch 4; steps in the end: tf_keras 20, Keras 3 25 (2026-11-30)
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 keras==3.15.1 tf_keras==2.21.0 numpy==2.4.6
cat >train.py <<'END'
import importlib
import json
import sys

import numpy as np

keras = importlib.import_module(sys.argv[1])
folder = sys.argv[1] + "-backup"
x = np.arange(10, dtype="float32")[:, None]


class Interruption(Exception):
    pass


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if self.model.optimizer.iterations == 15:
            raise Interruption


def steps(*more):
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    callbacks = [keras.callbacks.BackupAndRestore(folder, save_freq=1), *more]
    try:
        model.fit(x, x, batch_size=1, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
    except Interruption:
        pass
    return int(model.optimizer.iterations)


first = steps(Interrupt())
if sys.argv[1] == "keras":
    with open(folder + "/training_metadata.json") as file:
        print(first, json.load(file)["batch"], steps())
else:
    print(first, steps())
END
read -r first batch three < <(python train.py keras 2>>errors.txt)
read -r also two < <(python train.py tf_keras 2>>errors.txt)
[ "$first $also" = "15 15" ] || { tail -3 errors.txt >&2; exit 2; }
line="interrupted after 15 of 20 steps, the backup says batch $batch; steps in the end: tf_keras $two, Keras 3 $three"
echo "$line"
[ "$line" = "interrupted after 15 of 20 steps, the backup says batch 4; steps in the end: tf_keras 20, Keras 3 25" ]

#!/usr/bin/env bash
# A training with Keras' BackupAndRestore and OrbaxCheckpoint(save_freq=N) resumes, and then fails at its first checkpoint.
#
# Keras 3.15.1, JAX 0.10.2 (CPU), orbax-checkpoint 0.12.8, Python 3.11, November 2026.
#
# Expected: BackupAndRestore restores a training as fit begins, and OrbaxCheckpoint goes on with the numbers of a model that
#   was loaded. So the checkpoints of the resumed training have the next numbers, in any order of the two callbacks.
# Seen: OrbaxCheckpoint takes its number from the optimizer as the callback is given the model, which comes before
#   on_train_begin, where BackupAndRestore restores. So it numbers from 0 again. Orbax has that step, or with max_to_keep=1
#   (the default) takes no lower number than its latest, and the training ends with an error that names neither cause. Each new
#   start ends there too. With a model that is restored before fit, it goes on.
# Source: https://github.com/keras-team/keras/pull/22333 (takes the number from the optimizer)
# Output: resumed after 40 steps: StepAlreadyExistsError; with max_to_keep=1: AttributeError; restored before fit: 50 60
#   (2026-11-30)
here=$(dirname "$(readlink -f "$0")")
export KERAS_BACKEND=jax
. "$here/environment" jax==0.10.2 keras==3.15.1 numpy==2.4.6 orbax-checkpoint==0.12.8
cat >train.py <<'END'
import os
import sys

import keras
import numpy as np

folder, epochs, how = os.path.abspath(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
x, y = np.ones((40, 3), "float32"), np.ones((40, 1), "float32")
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
orbax = keras.callbacks.OrbaxCheckpoint(folder + "/orbax", save_freq=10, max_to_keep=1 if how == "one" else 100)
backup = keras.callbacks.BackupAndRestore(folder + "/backup", delete_checkpoint=False)
callbacks = [backup, orbax]
if how == "before" and os.path.exists(folder + "/model.keras"):
    model = keras.models.load_model(folder + "/model.keras")
    callbacks, epochs = [orbax], epochs - 4
before = set(os.listdir(folder + "/orbax")) if os.path.exists(folder + "/orbax") else set()
try:
    model.fit(x, y, batch_size=4, epochs=epochs, verbose=0, callbacks=callbacks)
    model.save(folder + "/model.keras")
    orbax.wait_until_finished()
    print(*sorted(set(os.listdir(folder + "/orbax")) - before, key=int))
except Exception as error:
    print(type(error).__name__)
END
run() { python train.py "$1" "$2" "$1" 2>>errors.txt; }
for how in many one before; do
  mkdir "$how"
  run "$how" 4 >>first.txt
done
line="resumed after 40 steps: $(run many 6); with max_to_keep=1: $(run one 6); restored before fit: $(run before 6)"
echo "$line"
[ "$(tr '\n' ' ' <first.txt)" = "10 20 30 40 40 10 20 30 40 " ] || { cat first.txt >&2; exit 2; }
[ "$line" = "resumed after 40 steps: StepAlreadyExistsError; with max_to_keep=1: AttributeError; restored before fit: 50 60" ]

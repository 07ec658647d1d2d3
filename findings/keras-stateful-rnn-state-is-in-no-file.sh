#!/usr/bin/env bash
# The state of a stateful RNN is in no list of variables and in no file that Keras writes.
#
# Keras 3.15.1, TensorFlow 2.21.0 (CPU), Python 3.11, November 2026.
#
# Expected: with stateful=True the state decides the next batch's result, so a checkpoint of the model holds it.
# Seen: the layer's states are Keras variables, but model.variables lacks them, and .keras, .weights.h5 and .h5 all come
#   back with zeros. A training resumed from any of them computes other gradients from its first batch on, silently.
# Output: in model.variables: 0 of 2; of the state after loading: .keras zeros, .weights.h5 zeros, .h5 zeros
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
python - <<'END'
import sys
import warnings

import keras
import numpy as np

warnings.simplefilter("ignore")


def make():
    return keras.Sequential([keras.Input((3, 2), batch_size=2), keras.layers.LSTM(4, stateful=True), keras.layers.Dense(1)])


def states(model):
    return [np.asarray(state) for state in model.layers[0].states]


model = make()
model.predict(np.ones((2, 3, 2), "float32"), verbose=0)
assert any(state.any() for state in states(model))
listed = {id(variable) for variable in model.variables}
held = sum(id(state) in listed for state in model.layers[0].states)
seen = {}
for suffix in (".keras", ".weights.h5", ".h5"):
    path = f"model{suffix}"
    if suffix == ".weights.h5":
        model.save_weights(path)
        loaded = make()
        loaded.load_weights(path)
    else:
        model.save(path)
        loaded = keras.models.load_model(path, compile=False)
    kept = all(np.array_equal(a, b) for a, b in zip(states(model), states(loaded)))
    seen[suffix] = "the same" if kept else "zeros" if not any(s.any() for s in states(loaded)) else "another"
print(f"in model.variables: {held} of 2; of the state after loading: " + ", ".join(f"{k} {v}" for k, v in seen.items()))
sys.exit(held != 0 or set(seen.values()) != {"zeros"})
END

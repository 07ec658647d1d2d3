#!/usr/bin/env bash
# clone_model and set_weights, the way to copy a model, give a copy whose Normalization layer does nothing.
#
# Keras 3.15.1, TensorFlow 2.21.0 (CPU), Python 3.11, November 2026.
#
# Expected: a layer computes with its weights. A copy with equal weights gives equal results, as with all other layers.
# Seen: Normalization computes with tensors that adapt, build and Keras' file readers make of its weights, and nothing else
#   makes them anew. After set_weights (or an assign) the weights say one thing and the layer computes another: in a clone it
#   hands its input on unchanged. There is no warning. `layer.finalize_state()`, named as for custom adaptation, mends it.
# Source: https://github.com/keras-team/keras/issues/20147 (the same cause, in the reading of .h5; mended there alone)
# Output: mean 2 in both; of 1 2 3 the model makes -1 0 1, its clone 1 2 3, after finalize_state -1 0 1 (2026-11-30)
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
python - <<'END'
import sys

import keras
import numpy as np

x = np.array([[1.0], [2.0], [3.0]], "float32")
layer = keras.layers.Normalization()
layer.adapt(x)
model = keras.Sequential([keras.Input((1,)), layer])
clone = keras.models.clone_model(model)
clone.set_weights(model.get_weights())


def made(of):
    return " ".join(f"{value:.0f}" for value in np.ravel(of(x)))


equal = all(np.array_equal(one, other) for one, other in zip(model.get_weights(), clone.get_weights(), strict=True))
mean = f"{clone.get_weights()[0].item():.0f}" if equal else "differs"
first, copied = made(model), made(clone)
clone.layers[0].finalize_state()
line = f"mean {mean} in both; of 1 2 3 the model makes {first}, its clone {copied}, after finalize_state {made(clone)}"
print(line)
sys.exit(line != "mean 2 in both; of 1 2 3 the model makes -1 0 1, its clone 1 2 3, after finalize_state -1 0 1")
END

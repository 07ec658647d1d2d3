#!/usr/bin/env bash
# A model with LoRA that is loaded from its .keras file still has LoRA, but its two matrices never learn again.
#
# Keras 3.15.1, TensorFlow 2.21.0 (CPU), Python 3.11, November 2026.
#
# Expected: a .keras file brings the layer back either with the LoRA matrices that it had, or plain, to be given new ones.
# Seen: saving adds the product of the matrices to the kernel, as is meant. But the loaded layer has LoRA enabled, and both
#   matrices are zeros (enable_lora starts one of them with random numbers). The gradient of each is a product with the
#   other, so both stay zeros whatever is trained, the kernel is frozen, and only the bias learns. There is no warning, and
#   enable_lora refuses to be called again. After load_weights into a model with LoRA it is the same.
# Source: https://github.com/keras-team/keras/issues/23244 says that the loaded layer is plain.
# Output: loaded: the same results, LoRA enabled, matrices changed by training: none of 2; before saving: 2 of 2 (2026-11-30)
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
python - <<'END'
import sys

import keras
import numpy as np

keras.utils.set_random_seed(1)
x = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
y = x @ np.ones((3, 2), "float32")


def changed_by_training(model):
    matrices = [v for v in model.trainable_variables if "lora" in v.name]
    before = [v.numpy() for v in matrices]
    model.compile(keras.optimizers.Adam(0.1), "mse")
    model.fit(x, y, epochs=3, verbose=0)
    return sum(not np.array_equal(old, v.numpy()) for old, v in zip(before, matrices, strict=True)), len(matrices)


model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
model.layers[0].enable_lora(2)
first = changed_by_training(model)
model.save("model.keras")
loaded = keras.models.load_model("model.keras", compile=False)
same = "the same" if np.allclose(model(x), loaded(x), atol=1e-5) else "other"
enabled = "enabled" if loaded.layers[0].lora_enabled else "not enabled"
then = changed_by_training(loaded)
words = f"{then[0] or 'none'} of {then[1]}"
print(
    f"loaded: {same} results, LoRA {enabled}, matrices changed by training: {words}; "
    f"before saving: {first[0]} of {first[1]}"
)
sys.exit((same, enabled, first, then) != ("the same", "enabled", (2, 2), (0, 2)))
END

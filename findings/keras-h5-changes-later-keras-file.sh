#!/usr/bin/env bash
# Saving a model as .h5 changes what a later .keras file of the same model holds: its optimizer is gone from it.
#
# Keras 3.15.1, TensorFlow 2.21.0 (CPU), Python 3.11, November 2026.
#
# Expected: saving reads the model and changes nothing. A .keras file is the same whether or not an .h5 was saved before.
# Seen: writing an .h5 takes 'optimizer' out of the live model's compile settings. Every .keras file that is saved later in
#   the process opens with Keras' default optimizer, RMSprop, instead of the model's own. There is no error; training
#   resumed from that file uses another optimizer, with fresh slots.
# Output: the .keras file opens with SGD before an .h5 was saved, and with RMSprop after
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
python - <<'END'
import sys
import warnings

import keras

warnings.simplefilter("ignore")
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
model.optimizer.build(model.trainable_variables)


def optimizer_in_keras_file():
    model.save("model.keras")
    return type(keras.models.load_model("model.keras").optimizer).__name__


before = optimizer_in_keras_file()
model.save("model.h5")
after = optimizer_in_keras_file()
print(f"the .keras file opens with {before} before an .h5 was saved, and with {after} after")
sys.exit((before, after) != ("SGD", "RMSprop"))
END

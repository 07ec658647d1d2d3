#!/usr/bin/env bash
# Two runs of one script write .keras files whose config.json differs: it holds memory addresses.
#
# Keras 3.15.1, TensorFlow 2.21.0 (CPU), Python 3.11, November 2026.
#
# Expected: config.json describes the model, so two runs of one seeded script write the same text. (metadata.json has the
#   date, and the archive the times of its members; those are known to differ.)
# Seen: each shared object, as an initializer or a dtype policy, has a "shared_object_id" that is Python's id() of it, so an
#   address. Hashes of .keras files, or of their config.json, never say that two trainings gave the same model.
# Output: config.json of two runs: different; without shared_object_id: equal; weights: equal
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" tensorflow-cpu==2.21.0 keras==3.15.1 numpy==2.4.6
cat >save.py <<'END'
import sys

import keras

keras.utils.set_random_seed(1)
start = keras.initializers.GlorotUniform(seed=2)
inputs = keras.Input((4,))
hidden = keras.layers.Dense(3, kernel_initializer=start)(inputs)
keras.Model(inputs, keras.layers.Dense(3, kernel_initializer=start)(hidden)).save(sys.argv[1])
END
python save.py a.keras && python save.py b.keras
python - <<'END'
import re
import sys
import zipfile

a, b = (zipfile.ZipFile(path) for path in ("a.keras", "b.keras"))
configs = [archive.read("config.json").decode() for archive in (a, b)]
plain = [re.sub(r'"shared_object_id": \d+', "", config) for config in configs]
weights = a.read("model.weights.h5") == b.read("model.weights.h5")
words = ["equal" if same else "different" for same in (configs[0] == configs[1], plain[0] == plain[1], weights)]
print(f"config.json of two runs: {words[0]}; without shared_object_id: {words[1]}; weights: {words[2]}")
sys.exit(words != ["different", "equal", "equal"])
END

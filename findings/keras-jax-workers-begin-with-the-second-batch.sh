#!/usr/bin/env bash
# On JAX, the first epoch of a model that `fit` has to build begins with the second batch of a PyDataset with workers.
#
# Keras 3.15.1, JAX 0.10.2 (CPU), Python 3.11, November 2026.
#
# Expected: workers make the same batches in the same order as none (shuffle=False): 0 1 2 3 4 5.
# Seen: to build the model (or its metrics) `fit` takes a batch of a pass and stops the workers, which put the other
#   batches of that pass aside for the next one. So every epoch is one batch late, and what `on_epoch_end` changes comes
#   an epoch late. With the TensorFlow backend `fit` builds nothing so.
# Output: workers=1: 0 1 2 3 4 5; workers=2: 1 2 3 4 5 0
here=$(dirname "$(readlink -f "$0")")
. "$here/environment" jax==0.10.2 keras==3.15.1 numpy==2.4.6
export KERAS_BACKEND=jax
line=$(python - <<'EOF'
import keras
import numpy as np


class Numbers(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return np.full((1, 1), index, "float32"), np.zeros((1, 1), "float32")


class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer, self.seen = keras.layers.Dense(1), []

    def call(self, x):
        return self.layer(x)

    def train_step(self, state, data):
        self.seen.append(int(data[0][0, 0]))
        return super().train_step(state, data)


said = []
for workers in (1, 2):
    model = Model()
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(Numbers(workers=workers), shuffle=False, verbose=0)
    said.append(f"workers={workers}: {' '.join(map(str, model.seen))}")
print("; ".join(said))
EOF
)
echo "$line"
[ "$line" = 'workers=1: 0 1 2 3 4 5; workers=2: 1 2 3 4 5 0' ]

"""The specification of a batch goes through a file, whatever kinds of tensors it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast
from holdfast.core import restricted_pickle
from holdfast.core.errors import InvalidPair
from holdfast.training.keras.backends import tf_spec as spec
from holdfast.training.pair.plain import from_plain, to_plain

from ...restarts import Script, assert_same, interrupted, once

layers = keras.layers
DENSE = tf.TensorSpec([None, 3], tf.float32)
KINDS = {
    "dense": DENSE,
    "of any shape": tf.TensorSpec(None, tf.string),
    "ragged": tf.RaggedTensorSpec([None, None, 2], tf.int32, 1, tf.int32),
    "sparse": tf.SparseTensorSpec([None, 5], tf.float32),
    "a structure": ({"a": DENSE, "b": tf.RaggedTensorSpec([None, None], tf.int64)}, DENSE),
    "without targets": (DENSE, tf.data.Dataset.from_tensors((0, None)).element_spec[1]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_specification_comes_back_as_that_of_a_dataset_without_batches(kind: str) -> None:
    plain = restricted_pickle.loads(restricted_pickle.dumps(to_plain(spec.to_plain(KINDS[kind]))))
    empty = spec.empty_dataset(from_plain(plain))
    assert empty.element_spec == KINDS[kind]
    assert list(empty) == []


@pytest.mark.parametrize("plain", [{"~dims": 3, "~dtype": "x"}, {"~dims": [2], "~dtype": "int8", "~ragged": [1]}, 3])
def test_nonsense_is_an_invalid_pair(plain: Any) -> None:
    with pytest.raises(InvalidPair):
        spec.empty_dataset(plain)


RNG = np.random.default_rng(3)
ROWS = [RNG.integers(1, 20, RNG.integers(2, 7)).tolist() for _ in range(32)]
Y = np.array([[sum(row) / 60] for row in ROWS], "float32")


def ragged() -> Any:
    return tf.ragged.constant(ROWS, tf.int32)


def sparse() -> Any:
    return tf.RaggedTensor.from_row_splits(ragged().flat_values, ragged().row_splits).to_sparse()


class Bag(keras.Model):
    """Built by its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = layers.Embedding(20, 4), layers.Dense(1)

    def call(self, x: Any) -> Any:
        dense = x.to_tensor() if isinstance(x, tf.RaggedTensor) else tf.sparse.to_dense(x)
        return self.out(tf.reduce_mean(self.embed(dense), axis=1))


def script(make: Any) -> Script:
    def run(callbacks: Any) -> Any:
        def epoch(seed: int) -> Any:
            data = tf.data.Dataset.from_tensor_slices((make(), Y))
            return data.shuffle(32, seed=seed, reshuffle_each_iteration=False).batch(8)

        model = Bag()
        model.compile("adam", "mse")
        data = holdfast.dataset(epoch, seed=1)
        return model, model.fit(data, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)

    return run


@pytest.mark.parametrize("make", [ragged, pytest.param(sparse, marks=pytest.mark.whole)])
def test_a_model_that_such_a_batch_builds_goes_on_exactly(tmp_path: Path, make: Any) -> None:
    assert_same(once(script(make), tmp_path / "whole"), interrupted(script(make), tmp_path / "stopped", (0, 2), (1, 1)))

"""Whatever a dataset is made of, what is known of it without reading it ends no fit."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from holdfast.training.data.fingerprint import fingerprint

HELD = {
    "numbers": [1.0, 2.0, 3.0],
    "texts": ["a", "b", "c"],
    "ragged": tf.ragged.constant([[1], [2, 3], []]),
    "sparse": tf.sparse.from_dense([[1, 0], [0, 2], [0, 0]]),
}


@pytest.mark.parametrize("kind", HELD)
def test_a_dataset_of_each_kind_of_tensor_has_one(kind: str) -> None:
    def made() -> Any:
        return tf.data.Dataset.from_tensor_slices(HELD[kind])

    assert fingerprint(made()) == fingerprint(made()) != fingerprint(made().take(2))

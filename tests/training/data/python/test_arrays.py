"""Arrays that Keras slices in Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras.src.trainers.epoch_iterator import EpochIterator

from holdfast.training.data.python.arrays import ArraysPosition

X = np.arange(24, dtype="float32").reshape(-1, 1)


def opened() -> tuple[ArraysPosition, Iterator[Any]]:
    keras_iterator = EpochIterator(X, batch_size=8, shuffle="batch")
    position = ArraysPosition(keras_iterator, "get_numpy_iterator")
    return position, keras_iterator.data_adapter.get_numpy_iterator()


def test_a_batch_that_was_sliced_ahead_is_sliced_again_from_the_state_of_then() -> None:
    """So Keras on JAX has it on a GPU. Other code draws between two batches."""
    np.random.seed(1)
    position, batches = opened()
    position.begin_epoch(0, within=False, facts=None)
    next(batches)
    np.random.random(3)
    ahead = next(batches)
    facts = position.facts(within_epoch=True, done=1)
    position, batches = opened()
    position.begin_epoch(1, within=True, facts=facts)
    next(batches)
    np.testing.assert_array_equal(next(batches), ahead)

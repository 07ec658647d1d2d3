"""An iterator's state as bytes, and back."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from holdfast.training.data.tf import state_bytes
from holdfast.training.data.tf.state_bytes import NoState


def numbers() -> Any:
    return tf.data.Dataset.range(12).shuffle(6, seed=1).batch(2).prefetch(2)


def drawn(iterator: Any) -> list[Any]:
    return [batch.numpy().tolist() for batch in iterator]


def state_of(iterator: Any) -> bytes:
    made: bytes = state_bytes.deferred(state_bytes.take(iterator), 0, lambda size: None).make()
    return made


def test_another_iterator_gives_what_the_first_one_gave_since_its_state_was_taken() -> None:
    first = iter(numbers())
    next(first)
    taken = state_bytes.take(first)
    rest = drawn(first)
    sizes: list[int] = []
    made = state_bytes.deferred(taken, 0, sizes.append).make()
    assert sizes == [len(made)]
    state_bytes.put(second := iter(numbers()), made)
    assert drawn(second) == rest


def test_a_state_that_is_too_large_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_bytes, "MOST_BYTES", 100)
    assert state_bytes.deferred(state_bytes.take(iter(numbers())), 0, lambda size: None).make() is None


def test_no_state_is_taken_where_a_function_keeps_one_of_its_own() -> None:
    made = tf.data.Dataset.range(4).map(lambda x: tf.numpy_function(lambda n: n, [x], tf.int64))
    with pytest.raises(NoState, match="is stateful"):
        state_bytes.take(iter(made))


@pytest.mark.parametrize(
    "data", [b"", b"text", tf.io.serialize_tensor(tf.constant([1, 2])).numpy(), state_of(iter(numbers()))[:-1]]
)
def test_other_bytes_are_refused_before_tensorflow_reads_them(data: bytes) -> None:
    with pytest.raises(NoState, match="no state of an iterator"):
        state_bytes.put(iter(numbers()), data)


def test_the_state_of_another_pipeline_is_refused() -> None:
    with pytest.raises(NoState):
        state_bytes.put(iter(numbers()), state_of(iter(tf.data.Dataset.range(3))))

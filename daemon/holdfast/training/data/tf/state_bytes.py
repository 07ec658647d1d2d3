"""The state of a ``tf.data`` iterator as bytes, and back: what its shuffles hold, what was prefetched, the shuffles'
own seeds, the elements of a cache in memory.

TensorFlow keeps the tensors of a state as they are, which takes little time. To make bytes of them takes longer, and is
done as the pair is written, in the background.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from tensorflow.core.framework import tensor_pb2

from ...pair.deferred import Deferred

MOST_BYTES = 256 << 20
_MOST_PARTS = 1 << 22
_IGNORE, _FAIL = (
    tf.data.experimental.ExternalStatePolicy.IGNORE.value,
    tf.data.experimental.ExternalStatePolicy.FAIL.value,
)
_KIND = "tensorflow::Iterator"


class NoState(Exception):
    """The iterator has no state that can be taken, or the bytes are none that it can be set to."""


def take(iterator: Any, ignore_random: bool = False) -> Any:
    """The state now, which no later draw changes. ``ignore_random``: an operation that keeps its state elsewhere is
    not refused. Raises NoState.
    """
    try:
        return tf.raw_ops.SerializeIterator(
            resource_handle=iterator._iterator_resource, external_state_policy=_IGNORE if ignore_random else _FAIL
        )
    except tf.errors.OpError as error:
        raise NoState(_first_line(error)) from None


def deferred(state: Any, expected: int, note: Callable[[int], None]) -> Deferred:
    """Its bytes; None if they are more than MOST_BYTES. ``expected`` is how many they may be, and ``note`` receives how
    many they are, in whatever thread makes them.
    """

    def encode() -> bytes | None:
        data: bytes = tf.io.serialize_tensor(state).numpy()
        note(len(data))
        return data if len(data) <= MOST_BYTES else None

    return Deferred(encode, expected)


def put(iterator: Any, data: bytes) -> None:
    """Sets an iterator over the same pipeline to the state. Raises NoState; the iterator is of no use then."""
    if not _is_state(data):
        raise NoState("it is no state of an iterator")
    try:
        tf.raw_ops.DeserializeIterator(
            resource_handle=iterator._iterator_resource, serialized=tf.io.parse_tensor(data, tf.variant)
        )
    except (tf.errors.OpError, ValueError) as error:
        raise NoState(_first_line(error)) from None


def _is_state(data: bytes) -> bool:
    """A tensor of nothing but iterators' states: TensorFlow would make objects of other kinds, if the bytes said so."""
    try:
        content = tensor_pb2.TensorProto.FromString(data)
        size = math.prod(one.size for one in content.tensor_shape.dim)
        is_variant = content.dtype == tf.variant.as_datatype_enum and not content.variant_val
        return is_variant and 0 < size <= _MOST_PARTS and set(_kinds(content.tensor_content, size)) == {_KIND}
    except (DecodeError, IndexError):
        return False


def _kinds(content: bytes, size: int) -> Iterator[str]:
    """The content is the parts' lengths, then the parts."""
    place, lengths = 0, []
    for _ in range(size):
        length = shift = 0
        while True:
            byte = content[place]
            place, length, shift = place + 1, length | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        lengths.append(length)
    if place + sum(lengths) != len(content):
        raise IndexError
    for length in lengths:
        yield tensor_pb2.VariantTensorDataProto.FromString(content[place : place + length]).type_name
        place += length


def _first_line(error: Exception) -> str:
    return str(getattr(error, "message", error)).strip().split("\n", 1)[0]

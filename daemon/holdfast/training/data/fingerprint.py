"""What is known of data without reading it: shapes, types and a few of its values where it is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ..session.call_site import digest
from .dataset import pass_counter_of

_VALUES = 32
_MOST_ARRAYS = 16


def fingerprint(*given: Any) -> list[Any] | None:
    """Plain values that are the same for the same data, as far as that is at hand; None where nothing is.

    Values of floating point are kept as they are, to be compared with a tolerance: another machine may round otherwise.
    """
    found = [sample(array) for array in _arrays(given)][:_MOST_ARRAYS]
    return found or None


def sample(array: Any) -> list[Any]:
    """Shape, type and evenly spaced values of an array or tensor."""
    shape = [int(n) for n in array.shape]
    size = int(np.prod(shape))
    places = np.linspace(0, size - 1, min(size, _VALUES)).astype(np.int64)
    in_memory = isinstance(array, np.ndarray)
    values = array.flat[places] if in_memory else tf.gather(tf.reshape(array, [-1]), places).numpy()
    return [shape, str(values.dtype), _plain(values)]


def _plain(values: np.ndarray) -> Any:
    if values.dtype.kind in "biu":
        return [int(value) for value in values]
    if values.dtype.kind == "f" or values.dtype.name == "bfloat16":
        return [float(value) for value in values]
    return digest(values.tolist())


def _arrays(given: Any) -> Iterator[Any]:
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, list | tuple):
        for one in given:
            yield from _arrays(one)
    elif isinstance(given, tf.data.Dataset):
        yield from _dataset(given)
    elif isinstance(given, np.ndarray | tf.Tensor) and None not in given.shape:
        yield given
    elif isinstance(given, int | float | bool | str):
        yield np.asarray(given)
    elif hasattr(given, "to_numpy") and hasattr(given, "iloc"):  # a frame or a series of pandas
        rows = np.linspace(0, max(0, len(given) - 1), min(len(given), _VALUES)).astype(np.int64)
        yield np.asarray([len(given)])
        yield np.asarray(given.iloc[rows].to_numpy())


def _dataset(made: Any) -> Iterator[Any]:
    """The tensors that it is made of; the numbers of a ``take``, a ``skip`` or a ``shard``; its length."""
    seen: set[int] = set()
    waiting = [made]
    while waiting:
        part = waiting.pop()
        part = getattr(part, "_original_dataset", part)
        if id(part) in seen or not isinstance(part, tf.data.Dataset):
            continue
        seen.add(id(part))
        if (ours := pass_counter_of(part)) is not None:
            yield np.asarray([ours.seed & 0x7FFFFFFFFFFFFFFF, ours.batches])
            yield from part.holdfast_arrays
            continue
        yield from (one for one in getattr(part, "_tensors", ()) if isinstance(one, tf.Tensor))
        numbers = [getattr(part, name, None) for name in ("_count", "_num_shards", "_index")]
        yield from (one for one in numbers if isinstance(one, tf.Tensor) and one.shape.rank == 0)
        waiting.extend(part._inputs())
    yield np.asarray(int(made.cardinality()))

"""What is known of data without reading it: shapes, types and a few of its values where it is in memory.

Loads no framework: where TensorFlow is not loaded, nothing is of its kinds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..session.call_site import digest
from .dataset_passes import pass_counter_of

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
    values = array.flat[places] if isinstance(array, np.ndarray) else _gathered(array, places)
    return [shape, str(values.dtype), _plain(values)]


def _gathered(tensor: Any, places: np.ndarray) -> np.ndarray:
    """On its device, whose memory is not copied for a few values."""
    if isinstance(tensor, _of_torch()):
        values = tensor.detach().reshape(-1)[places].cpu()
        return np.asarray(values.float() if values.is_floating_point() and values.itemsize < 4 else values)
    if (tf := _tensorflow()) is not None and not isinstance(tensor, _of_jax()):
        return np.asarray(tf.gather(tf.reshape(tensor, [-1]), places))
    return np.asarray(tensor.reshape(-1)[places])


def _tensorflow() -> Any:
    tf = sys.modules.get("tensorflow")
    return tf if hasattr(tf, "data") else None  # else it is still being loaded


def _of_jax() -> tuple[type, ...]:
    jax: Any = sys.modules.get("jax")
    return (jax.Array,) if hasattr(jax, "Array") else ()


def _of_torch() -> tuple[Any, ...]:
    torch: Any = sys.modules.get("torch")
    return (torch.Tensor,) if hasattr(torch, "Tensor") else ()


def _array_types() -> tuple[Any, ...]:
    tf = _tensorflow()
    return (np.ndarray, *_of_jax(), *_of_torch(), *(() if tf is None else (tf.Tensor,)))


def _plain(values: np.ndarray) -> Any:
    if values.dtype.kind in "biu":
        return [int(value) for value in values]
    if values.dtype.kind == "f" or values.dtype.name == "bfloat16":
        return [float(value) for value in values]
    return digest(values.tolist())


def _arrays(given: Any) -> Iterator[Any]:
    tf = _tensorflow()
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, list | tuple):
        for one in given:
            yield from _arrays(one)
    elif tf is not None and isinstance(given, tf.data.Dataset):
        yield from _dataset(given)
    elif isinstance(given, _array_types()) and None not in given.shape:
        yield given
    elif isinstance(given, int | float | bool | str):
        yield np.asarray(given)
    elif hasattr(given, "to_numpy") and hasattr(given, "iloc"):  # a frame or a series of pandas
        rows = np.linspace(0, max(0, len(given) - 1), min(len(given), _VALUES)).astype(np.int64)
        yield np.asarray([len(given)])
        yield np.asarray(given.iloc[rows].to_numpy())


def _has_values(tensor: Any) -> bool:
    """Ragged and sparse ones are held as tensors of a type that no array has."""
    return tensor.dtype not in (_tensorflow().variant, _tensorflow().resource)


def _dataset(made: Any) -> Iterator[Any]:
    """The tensors that it is made of; the numbers of a ``take``, a ``skip`` or a ``shard``; its length."""
    tf = _tensorflow()
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
        yield from (one for one in getattr(part, "_tensors", ()) if isinstance(one, tf.Tensor) and _has_values(one))
        numbers = [getattr(part, name, None) for name in ("_count", "_num_shards", "_index")]
        yield from (one for one in numbers if isinstance(one, tf.Tensor) and one.shape.rank == 0)
        waiting.extend(part._inputs())
    yield np.asarray(int(made.cardinality()))

"""The arrays of ``holdfast.dataset`` as dense tensors: NumPy's, TensorFlow's, pandas', alone or in lists and dicts."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import tensorflow as tf

from ...core.errors import SettingsError
from .keras_in_use import expected

_BY_A_FUNCTION = "give a function that makes a batched tf.data.Dataset of them: holdfast.dataset(make_epoch, seed=)"


def as_tensors(structure: Any) -> Any:
    """Lists become tuples, as tf.data wants them. Raises SettingsError for what is no dense array."""
    return tf.nest.map_structure(_as_tensor, _without_lists(structure))


def samples_of(arrays: Any) -> int:
    """How many all of them have. Raises SettingsError if they have not the same number, of 1 or more."""
    flat = tf.nest.flatten(arrays)
    if any(array.shape.rank == 0 for array in flat):  # a list's numbers, each by itself
        raise SettingsError(
            "holdfast.dataset: give arrays of shape (samples, ...) with 1 or more samples, not lists of numbers: "
            "np.asarray makes an array of a list"
        )
    lengths = {int(array.shape[0]) for array in flat}
    if len(lengths) != 1 or min(lengths) < 1:
        raise SettingsError(
            f"holdfast.dataset: all arrays need the same number of samples, 1 or more; they have {sorted(lengths)}"
        )
    return lengths.pop()


def _without_lists(structure: Any) -> Any:
    """As Keras does with what ``fit`` is given."""
    if isinstance(structure, dict):
        return {key: _without_lists(item) for key, item in structure.items()}
    if isinstance(structure, list) or type(structure) is tuple:
        return tuple(_without_lists(item) for item in structure)
    return structure


def _as_tensor(array: Any) -> Any:
    if isinstance(array, tf.RaggedTensor | tf.SparseTensor) or hasattr(array, "tocsr"):
        raise SettingsError(
            f"holdfast.dataset takes dense arrays, and this is a {type(array).__name__}: {_BY_A_FUNCTION}"
        )
    if type(array).__module__.split(".")[0] == "pandas":
        array = _of_pandas(array)
    try:
        return tf.convert_to_tensor(array)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"holdfast.dataset: no dense array is made of a {type(array).__name__} ({_first_line(error)}). Where the "
            f"samples differ in length, {_BY_A_FUNCTION}"
        ) from None


def _of_pandas(frame: Any) -> np.ndarray:
    """A column is of shape (samples, 1), and numbers with a fraction are of Keras' type for them, as in ``fit``."""
    array: np.ndarray = frame.to_numpy()
    if array.dtype.kind == "f":
        array = array.astype(_floatx())
    return array[:, None] if array.ndim == 1 else array


def _floatx() -> str:
    used = importlib.import_module(expected())
    return str(used.backend.floatx())


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]

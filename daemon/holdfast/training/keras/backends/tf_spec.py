"""Shapes and types of a batch as plain values, so that a later process can trace the model before it has data."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ....core.errors import InvalidPair

_ROWS = {"int32": tf.int32, "int64": tf.int64}


def to_plain(spec: Any) -> Any:
    """Raises TypeError for what is no dense, ragged or sparse tensor, or None, in tuples, lists and dicts."""
    if isinstance(spec, tf.TensorSpec):
        return {"~dims": _dims(spec.shape), "~dtype": spec.dtype.name}
    if isinstance(spec, tf.RaggedTensorSpec):
        ragged = [spec.ragged_rank, spec.row_splits_dtype.name]
        return {"~dims": _dims(spec.shape), "~dtype": spec.dtype.name, "~ragged": ragged}
    if isinstance(spec, tf.SparseTensorSpec):
        return {"~dims": _dims(spec.shape), "~dtype": spec.dtype.name, "~sparse": True}
    if spec is None or type(spec).__name__ == "NoneTensorSpec":
        return {"~none": True}
    if type(spec).__name__ == "PerReplicaSpec":  # each replica's share of a batch is of one kind
        return to_plain(spec._component_specs[0])
    if isinstance(spec, dict):
        return {str(key): to_plain(item) for key, item in spec.items()}
    if isinstance(spec, tuple | list):
        return tuple(to_plain(item) for item in spec)
    raise TypeError(f"a batch with a {type(spec).__name__}")


def empty_dataset(plain: Any) -> Any:
    """A ``tf.data.Dataset`` of that element specification with no elements. Raises InvalidPair for nonsense."""
    return tf.data.Dataset.from_generator(lambda: iter(()), output_signature=_from_plain(plain))


def _dims(shape: Any) -> list[int | None] | None:
    return None if shape.rank is None else shape.as_list()


def _from_plain(plain: Any) -> Any:
    try:
        if isinstance(plain, dict) and "~none" in plain:
            return tf.data.Dataset.from_tensors((0, None)).element_spec[1]
        if isinstance(plain, dict) and "~dtype" in plain:
            return _spec(plain["~dims"], tf.as_dtype(plain["~dtype"]), plain.get("~ragged"), "~sparse" in plain)
        if isinstance(plain, dict):
            return {key: _from_plain(item) for key, item in plain.items()}
        return tuple(_from_plain(item) for item in plain)
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidPair(f"the .pkl's batch specification is malformed: {error}") from None


def _spec(dims: Any, dtype: Any, ragged: Any, sparse: bool) -> Any:
    if ragged is not None:
        rank, rows = ragged
        return tf.RaggedTensorSpec(dims, dtype, rank, _ROWS[rows])
    return tf.SparseTensorSpec(dims, dtype) if sparse else tf.TensorSpec(dims, dtype)

"""Shapes and types of a batch as plain values, so that a later process can trace the model before it has data."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ...core.errors import InvalidPair


def to_plain(spec: Any) -> Any:
    """Raises TypeError for specs that are not dense tensors in tuples and dicts."""
    if isinstance(spec, tf.TensorSpec):
        dims = None if spec.shape.rank is None else spec.shape.as_list()
        return {"~dims": dims, "~dtype": spec.dtype.name}
    if isinstance(spec, dict):
        return {str(key): to_plain(item) for key, item in spec.items()}
    if isinstance(spec, tuple):
        return tuple(to_plain(item) for item in spec)
    raise TypeError(f"a batch with a {type(spec).__name__}")


def empty_dataset(plain: Any) -> Any:
    """A ``tf.data.Dataset`` of that element specification with no elements. Raises InvalidPair for nonsense."""
    return tf.data.Dataset.from_generator(lambda: iter(()), output_signature=_from_plain(plain))


def _from_plain(plain: Any) -> Any:
    try:
        if isinstance(plain, dict) and "~dtype" in plain:
            return tf.TensorSpec(plain["~dims"], plain["~dtype"])
        if isinstance(plain, dict):
            return {key: _from_plain(item) for key, item in plain.items()}
        return tuple(_from_plain(item) for item in plain)
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidPair(f"the .pkl's batch specification is malformed: {error}") from None

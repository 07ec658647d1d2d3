"""Shapes and types of a batch as plain values, so that a later process can build the model before it has data."""

from __future__ import annotations

import math
from typing import Any

import keras
import torch

from ....core.errors import InvalidPair

_MOST_VALUES = 1 << 28


def zeros(spec: Any) -> Any:
    """A batch of as many rows: a step may depend on their number. Raises InvalidPair for nonsense."""
    try:
        if isinstance(spec, dict) and "~dtype" in spec:
            sizes = tuple(int(size) for size in spec["~dims"])
            if math.prod(sizes) > _MOST_VALUES:
                raise ValueError("a batch of too many values")
            return keras.ops.zeros(sizes, spec["~dtype"])
        if isinstance(spec, dict):
            return {key: zeros(item) for key, item in spec.items()}
        return None if spec is None else tuple(map(zeros, spec))
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        raise InvalidPair(f"the .pkl's batch specification is malformed: {error}") from None


def described(batch: Any) -> Any:
    """Raises TypeError for what is neither a tensor of some rows, nor None, in tuples, lists and dicts."""
    if isinstance(batch, torch.Tensor) and batch.ndim:
        return {"~dims": list(batch.shape), "~dtype": keras.backend.standardize_dtype(batch.dtype)}
    if isinstance(batch, dict):
        return {str(key): described(item) for key, item in batch.items()}
    if batch is None or isinstance(batch, tuple | list):
        return None if batch is None else tuple(map(described, batch))
    raise TypeError(f"a batch with a {type(batch).__name__}")

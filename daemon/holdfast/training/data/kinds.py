"""Which class keeps the position in the data that ``fit`` was given. A new kind of data is added here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .position import DataPosition
from .python.generator import GeneratorPosition
from .python.iterable import of_grain
from .python.py_dataset import PyDatasetPosition
from .python.torch_loader import of_torch
from .tf.iterator_position import IteratorPosition
from .tf.tf_data_position import TfDataPosition


def position_in(
    x: Any, epoch_iterator: Any, say: Callable[[str], None], is_stopping: Callable[[], bool]
) -> DataPosition:
    """For ``x`` as it was given to ``fit``, and the ``epoch_iterator`` that Keras made of it. ``say`` receives what is
    not exact and is found on the way. ``is_stopping``: has the process been asked to end?

    On TensorFlow, Keras makes a ``tf.data.Dataset`` of whatever it is given.
    """
    if GeneratorPosition.serves(getattr(epoch_iterator, "data_adapter", None)):
        return GeneratorPosition(x, epoch_iterator, say)
    if _has(epoch_iterator, "GrainDatasetAdapter", "_dataset"):
        return of_grain(x, epoch_iterator, say)
    if _has(epoch_iterator, "TorchDataLoaderAdapter", "_dataloader"):
        return of_torch(x, epoch_iterator, say)
    if PyDatasetPosition.serves(epoch_iterator):
        return PyDatasetPosition(x, epoch_iterator, say)
    if IteratorPosition.serves(x, epoch_iterator):
        return IteratorPosition(x, epoch_iterator, is_stopping, say)
    return TfDataPosition(x, epoch_iterator)


def _has(epoch_iterator: Any, kind: str, source: str) -> bool:
    """An adapter of that kind, with what it reads from where it is looked for."""
    adapter = getattr(epoch_iterator, "data_adapter", None)
    return type(adapter).__name__ == kind and hasattr(adapter, source)

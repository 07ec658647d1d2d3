"""Which class keeps the position in the data that ``fit`` was given. A new kind of data is added here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .position import DataPosition
from .python.generator import GeneratorPosition
from .python.py_dataset import PyDatasetPosition
from .tf_data import TfDataPosition


def position_in(x: Any, epoch_iterator: Any, say: Callable[[str], None]) -> DataPosition:
    """For ``x`` as it was given to ``fit``, and the ``epoch_iterator`` that Keras made of it. ``say`` receives what is
    not exact and is found on the way.

    On TensorFlow, Keras makes a ``tf.data.Dataset`` of whatever it is given.
    """
    if GeneratorPosition.serves(getattr(epoch_iterator, "data_adapter", None)):
        return GeneratorPosition(x, epoch_iterator)
    if PyDatasetPosition.serves(epoch_iterator):
        return PyDatasetPosition(x, epoch_iterator, say)
    return TfDataPosition(x, epoch_iterator)

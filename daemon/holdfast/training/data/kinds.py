"""Which class keeps the position in the data that ``fit`` was given. A new kind of data is added here."""

from __future__ import annotations

from typing import Any

from .position import DataPosition
from .python.generator import GeneratorPosition
from .tf_data import TfDataPosition


def position_in(x: Any, epoch_iterator: Any) -> DataPosition:
    """For ``x`` as it was given to ``fit``, and the ``epoch_iterator`` that Keras made of it.

    On TensorFlow, Keras makes a ``tf.data.Dataset`` of whatever it is given.
    """
    if GeneratorPosition.serves(getattr(epoch_iterator, "data_adapter", None)):
        return GeneratorPosition(x, epoch_iterator)
    return TfDataPosition(x, epoch_iterator)

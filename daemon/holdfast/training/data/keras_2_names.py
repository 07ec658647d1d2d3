"""Keras 2 by the names that Keras 3 has for it: what the modules beside this one use of ``keras``, and no more.

``isinstance`` takes a tuple where Keras 2 has several classes for what is one in Keras 3. Loads TensorFlow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras import Model as Model
from tf_keras import Sequential as Sequential
from tf_keras import callbacks as callbacks
from tf_keras import layers as layers
from tf_keras import saving as saving

__version__: str = tf_keras.__version__

Layer: Any = layers.Layer
Metric: Any = tf_keras.metrics.Metric
Variable: Any = tf.Variable

optimizers = SimpleNamespace(Optimizer=(tf_keras.optimizers.Optimizer, tf_keras.optimizers.legacy.Optimizer))
utils = SimpleNamespace(PyDataset=tf_keras.utils.Sequence)
tree = SimpleNamespace(flatten=tf.nest.flatten)
config = SimpleNamespace(floatx=tf_keras.backend.floatx)
backend = SimpleNamespace(
    backend=lambda: "tensorflow", standardize_dtype=lambda dtype: tf.as_dtype(getattr(dtype, "name", dtype)).name
)


@contextlib.contextmanager
def StatelessScope(values: Any) -> Iterator[None]:  # noqa: N802
    """Keras 2 has no such thing: a thread sees the live values."""
    yield

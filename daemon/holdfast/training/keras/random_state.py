"""The global random states: Python's, NumPy's, TensorFlow's and Keras'.

Stateful ``tf.random`` ops keep a state inside of their kernels that nothing can read; those are beyond this.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...core.errors import InvalidPair
from ..pair.plain import from_plain, to_plain
from ..session import random_state


def get_state() -> dict[str, Any]:
    """Plain values. Nothing is created that the script did not create itself."""
    return {
        **random_state.get_state(),
        "tensorflow": _tensorflow(),
        "keras": _keras(),
    }


def set_state(state: dict[str, Any]) -> None:
    """Raises InvalidPair if ``state`` is not what ``get_state`` gave."""
    try:
        if state["tensorflow"] is not None:
            tf.random.get_global_generator().state.assign(from_plain(state["tensorflow"]))
        if state["keras"] is not None:
            if _keras_generator() is None:
                keras.random.uniform(())  # the first draw makes it, with a seed from Python's generator
            if (generator := _keras_generator()) is not None:
                generator.state.assign(from_plain(state["keras"]))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidPair(f"the .pkl's random states are malformed: {error}") from None
    random_state.set_state(state)


def _tensorflow() -> Any:
    from tensorflow.python.ops import stateful_random_ops

    generator = getattr(stateful_random_ops, "global_generator", None)
    return None if generator is None else to_plain(generator.state.numpy())


def _keras() -> Any:
    generator = _keras_generator()
    return None if generator is None else to_plain(np.asarray(generator.state.value))


def _keras_generator() -> Any:
    """The generator that unseeded Keras operations share, if any of them has made it yet."""
    try:
        from keras.src.backend.common import global_state
    except ImportError:
        return None
    generator = global_state.get_global_attribute("global_seed_generator")
    return generator if isinstance(generator, keras.random.SeedGenerator) else None

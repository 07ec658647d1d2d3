"""The global random states: Python's, NumPy's, the backend's and Keras'.

Stateful ``tf.random`` ops keep a state inside of their kernels that nothing can read; those are beyond this.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core.errors import InvalidPair
from ..data.keras_in_use import is_keras_2, keras
from ..pair.plain import from_plain, to_plain
from ..session import random_state
from .backends.chosen import backend


def get_state() -> dict[str, Any]:
    """Plain values. Nothing is created that the script did not create itself."""
    return {
        **random_state.get_state(),
        _key(): backend().random_state(),
        "keras": _keras(),
    }


def set_state(state: dict[str, Any]) -> None:
    """Raises InvalidPair if ``state`` is not what ``get_state`` gave."""
    try:
        if state[_key()] is not None:
            backend().set_random_state(state[_key()])
        if state["keras"] is not None:
            if _keras_generator() is None:
                keras.random.uniform(())  # the first draw makes it, with a seed from Python's generator
            if (generator := _keras_generator()) is not None:
                generator.state.assign(from_plain(state["keras"]))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidPair(f"the .pkl's random states are malformed: {error}") from None
    random_state.set_state(state)


def shared(state: dict[str, Any]) -> dict[str, Any]:
    """What of another backend's states this one has, too."""
    return {**{key: state[key] for key in ("python", "numpy", "torch") if key in state}, _key(): None, "keras": None}


def _key() -> str:
    """PyTorch's own name stands for its generator on the host, which other backends' trainings may use too."""
    return "torch devices" if backend().name == "torch" else backend().name


def _keras() -> Any:
    generator = _keras_generator()
    return None if generator is None else to_plain(np.asarray(generator.state))


def _keras_generator() -> Any:
    """The generator that unseeded Keras operations share, if any of them has made it yet."""
    if is_keras_2():
        return None
    try:
        from keras.src.backend.common import global_state
    except ImportError:
        return None
    generator = global_state.get_global_attribute("global_seed_generator")
    return generator if isinstance(generator, keras.random.SeedGenerator) else None

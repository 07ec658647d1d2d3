"""The global random states of Python, NumPy and, if it is loaded, PyTorch, as plain values and back."""

from __future__ import annotations

import copy
import random
import sys
from typing import Any

import numpy as np

from ...core.errors import InvalidPair
from ..pair.plain import from_plain, to_plain

_MT19937_WORDS = 624
PLACES = range(_MT19937_WORDS + 1)  # in a Mersenne twister's buffer; at its end it is used up
PHILOX_PLACES = range(5)
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)


def get_state() -> dict[str, Any]:
    return {"python": to_plain(random.getstate()), "numpy": to_plain(np.random.get_state()), **of_torch()}


def of_torch() -> dict[str, Any]:
    """PyTorch's, on the CPU, where the script has loaded it: its loaders draw their order from it."""
    torch: Any = sys.modules.get("torch")
    return {"torch": torch.get_rng_state().numpy().tobytes()} if hasattr(torch, "get_rng_state") else {}


def set_state(state: Any) -> None:
    """Raises InvalidPair, and sets nothing, if ``state`` is not what ``get_state`` gave."""
    check_state(state)
    torch: Any = sys.modules.get("torch")
    if "torch" in state and hasattr(torch, "set_rng_state"):
        try:
            torch.set_rng_state(torch.frombuffer(bytearray(state["torch"]), dtype=torch.uint8))
        except (RuntimeError, ValueError, TypeError) as error:
            raise InvalidPair(f"the .pkl's random states are malformed: {error}") from None
    _set(state, random, np.random)


def check_state(state: Any) -> None:
    """Raises InvalidPair if ``set_state`` would, for Python's and NumPy's. Generators of its own try it."""
    numpy: Any = np.random  # its types leave out the generator in use
    try:
        _set(state, random.Random(), np.random.RandomState(copy.deepcopy(numpy.get_bit_generator())))
    except (RuntimeError, ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
        raise InvalidPair(f"the .pkl's random states are malformed: {error}") from None


def _set(state: Any, python: Any, numpy: Any) -> None:
    version, words, gauss = state["python"]
    python.setstate((version, words, None if gauss is None else float(gauss)))
    numpy.set_state(_checked(from_plain(state["numpy"])))


def is_generator(value: Any) -> bool:
    """One of GENERATORS, of PyTorch's, TensorFlow's or Keras'."""
    return isinstance(value, GENERATORS) or _is_torchs(value) or _has_variable(value)


def _is_torchs(value: Any) -> bool:
    kind = getattr(sys.modules.get("torch"), "Generator", None)
    return isinstance(kind, type) and isinstance(value, kind)


def _has_variable(value: Any) -> bool:
    kind = type(value)
    return (kind.__name__, kind.__module__.split(".")[0]) in _WITH_VARIABLE and hasattr(value, "state")


_WITH_VARIABLE = {("SeedGenerator", "keras"), ("Generator", "tensorflow")}


def state_of(generator: Any) -> Any:
    """Of what ``is_generator``."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    return np.asarray(generator.state) if _has_variable(generator) else generator.get_state().numpy().tobytes()


def set_state_of(generator: Any, state: Any) -> None:
    """What ``state_of`` gave, as plain values or not. Raises ValueError and the like for anything else."""
    state = from_plain(state)
    if isinstance(generator, random.Random):
        version, inner, gauss = state
        generator.setstate((version, tuple(inner), gauss))
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = _within_buffer(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(_within_buffer(state))
    elif _has_variable(generator):
        generator.state.assign(_like(generator, state))
    else:
        _set_torchs(generator, state)


def check_state_of(generator: Any, state: Any) -> None:
    """Raises what ``set_state_of`` would raise, and sets nothing."""
    if _has_variable(generator):
        _like(generator, from_plain(state))
    elif _is_torchs(generator):
        _set_torchs(type(generator)(device=generator.device), from_plain(state))
    else:
        set_state_of(copy.deepcopy(generator), state)


def _set_torchs(generator: Any, state: Any) -> None:
    torch: Any = sys.modules.get("torch")
    try:
        generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
    except RuntimeError as error:
        raise ValueError(str(error)) from None


def _like(generator: Any, state: Any) -> Any:
    now = np.asarray(generator.state)
    if not isinstance(state, np.ndarray) or (state.shape, state.dtype) != (now.shape, now.dtype):
        raise ValueError("not this generator's state")
    return state


def _checked(state: Any) -> Any:
    """Of the global generator: a Mersenne twister's is a tuple."""
    if isinstance(state, dict):
        if state["bit_generator"] == "MT19937":
            raise ValueError("not a Mersenne twister's state")
        return _within_buffer(state)
    _, key, place, _, _ = state
    if (key.dtype, key.shape) != ("uint32", (_MT19937_WORDS,)):
        raise ValueError("not a Mersenne twister's state")
    _check_place(place, PLACES)
    return state


def _within_buffer(state: Any) -> Any:
    """NumPy takes the place in a generator's buffer as it is given, and reads there: one outside ends the process."""
    if not isinstance(state, dict):
        raise TypeError("not a generator's state")
    _check_place(state.get("buffer_pos", 0), PHILOX_PLACES)
    if isinstance(inner := state.get("state"), dict):
        _check_place(inner.get("pos", 0), PLACES)
    return state


def _check_place(place: Any, places: range) -> None:
    if type(place) is not int or place not in places:
        raise ValueError("a place outside of the generator's buffer")

"""Plain Python values of the script's own objects that change during a training: counters, lists, generators.

They are found where callbacks lead to: attributes of a callback, of its helpers, and what its functions refer to. Which
of them are state is not known beforehand. What has changed since the training began is: it is kept, and set again as a
training resumes. A text is not: a file that anybody may have written must not choose a path or a command.

What the model, its loss and its metrics lead to is only watched: a step that is compiled has read such a value once, so
setting it would not bring back what an undisturbed training computes. What has changed there is named.
"""

from __future__ import annotations

import itertools
import types
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...core.errors import InvalidPair, one_line
from ..pair.plain import from_plain, to_plain_part
from ..session.random_state import GENERATORS, set_state_of, state_of
from .object_graph import INSIDE, Slot
from .watched import Watched

_MOST_LOOKED_AT = 2000
_ALL_LOOKED_AT_BYTES = 16 << 20
_WALKED = (keras.Variable, tf.Variable, keras.Layer, keras.optimizers.Optimizer, types.FunctionType, type)
_UNKNOWN = object()
Say = Callable[[str], None]


class OwnValues:
    """``begin`` is called once all callbacks have seen the training begin. ``read`` gives plain values, by path."""

    def __init__(self, watched: Watched, say: Say) -> None:
        self._watched = watched
        self._say = say
        self._before: dict[str, Any] = {}
        self._of_model: dict[str, Any] | None = None
        self._kept: set[str] = set()

    def begin(self) -> None:
        self._before = {slot.path: mark(slot) for slot in self._slots()}

    def read(self) -> dict[str, Any]:
        found = {}
        for slot in self._slots():
            if slot.path not in self._kept and mark(slot) == self._before.get(slot.path, _UNKNOWN):
                continue
            try:
                value = to_plain_part(_described(slot.get()))
            except LookupError:
                continue
            except TypeError as error:
                self._say(f"{slot.path} is not kept: it holds {error}. {_REMEDY}")
            except Exception as error:  # as above: the training must not die of it
                self._say(f"{slot.path} is not kept ({type(error).__name__}). {_REMEDY}")
            else:
                self._kept.add(slot.path)
                found[slot.path] = value
        self._watch_model()
        return found

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Raises InvalidPair for what ``read`` cannot have given."""
        slots = {slot.path: slot for slot in self._slots()}
        for path, plain in saved.items():
            if path not in slots:
                self._say(
                    f"the checkpoint holds the value of {one_line(str(path))[:200]}, and this script has none there"
                )
                continue
            if not _is_plain_state(plain):
                raise InvalidPair(f"the .pkl's value of {path} is malformed")
            self._kept.add(path)
            _put(slots[path], from_plain(plain))

    def _slots(self) -> Iterator[Slot]:
        """Of the callbacks that don't say themselves what their state is."""
        mine = self._watched.own_callbacks()
        for slot in self._watched.found.slots:
            if slot.path.split(".")[0].split(":")[0] in mine:
                if _is_iterator(slot):
                    self._say(f"{slot.path} is an iterator: where it stands is not kept. {_REMEDY}")
                elif mark(slot) is not _UNKNOWN:
                    yield slot

    def _watch_model(self) -> None:
        """From the second look on: a first step makes and sets things that no later one touches."""
        slots = [slot for slot in self._watched.found.slots if slot.path.startswith(INSIDE)]
        now = {slot.path: mark(slot) for slot in slots}
        before = now if self._of_model is None else self._of_model
        for path in now:
            if now[path] is not _UNKNOWN and now[path] != before.get(path, now[path]):
                self._say(f"{path} changes during the training, and is not kept: make it a keras.Variable")
        self._of_model = {**now, **before}


_REMEDY = "Give the callback get_state() and set_state(state)"


def mark(slot: Slot) -> Any:
    """Two marks differ if the value has changed. Much of it is looked at, not all. _UNKNOWN for what is no value."""
    try:
        return _mark(slot.get(), itertools.count())
    except Exception:  # whatever an object of the script's does when it is looked at, or if it holds itself
        return _UNKNOWN


def _mark(value: Any, looked_at: Iterator[int]) -> Any:
    if next(looked_at) > _MOST_LOOKED_AT:
        return "more"
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        return (type(value).__name__, repr(value))
    if isinstance(value, np.ndarray):
        return _mark_of_array(value)
    if isinstance(value, tf.Tensor):
        return _mark_of_array(np.asarray(value)) if hasattr(value, "numpy") and value.dtype != tf.string else _UNKNOWN
    if isinstance(value, GENERATORS):
        return repr(state_of(value))
    if isinstance(value, dict):
        return _mark_of_items(len(value), itertools.chain.from_iterable(value.items()), looked_at)
    if isinstance(value, list | tuple | deque):
        step = max(1, len(value) // _MOST_LOOKED_AT)
        chosen = [*itertools.islice(value, 0, None, step), *(list(value)[-1:] if not isinstance(value, deque) else [])]
        return _mark_of_items(len(value), chosen, looked_at)
    if isinstance(value, set | frozenset):
        return _mark_of_items(len(value), sorted(map(repr, value)) if len(value) < _MOST_LOOKED_AT else (), looked_at)
    return _UNKNOWN


def _mark_of_items(size: int, items: Iterable[Any], looked_at: Iterator[int]) -> Any:
    """One mark of all. Objects among them are known by which they are."""
    marks = []
    for item in items:
        if isinstance(item, _WALKED):
            return _UNKNOWN
        one = _mark(item, looked_at)
        marks.append(id(item) if one is _UNKNOWN else one)
    return (size, zlib.crc32(repr(marks).encode()))


def _mark_of_array(array: np.ndarray) -> Any:
    if array.dtype.hasobject:
        return _UNKNOWN
    if array.nbytes > _ALL_LOOKED_AT_BYTES:
        array = array.reshape(-1)[:: array.nbytes // _ALL_LOOKED_AT_BYTES + 1]
    return (array.dtype.str, array.shape, zlib.crc32(np.ascontiguousarray(array).tobytes()))


def _is_iterator(slot: Slot) -> bool:
    try:
        value = slot.get()
        return isinstance(value, types.GeneratorType | tf.data.Iterator) or type(value).__name__.endswith("_iterator")
    except Exception:  # as in ``mark``
        return False


# --- there and back


def _described(value: Any) -> Any:
    """What ``to_plain`` lacks, as dicts of one key. Raises TypeError for texts and for what is no plain value."""
    if isinstance(value, str | bytes):
        raise TypeError("a text")
    if isinstance(value, GENERATORS):
        return {"~random": state_of(value)}
    if isinstance(value, set | frozenset | deque):
        items = sorted(value, key=repr) if not isinstance(value, deque) else value
        return {f"~{type(value).__name__}": [_described(item) for item in items]}
    if isinstance(value, dict):
        return {key: _described(item) for key, item in value.items()}
    if isinstance(value, _WALKED):
        raise TypeError(f"a {type(value).__name__}")
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [_described(item) for item in value] if isinstance(value, list) else tuple(map(_described, value))
    return value


def _is_plain_state(plain: Any) -> bool:
    """No texts but as keys, and in the state of a random generator, which checks it."""
    if isinstance(plain, dict):
        return set(plain) in ({"~random"}, {"~array"}) or all(map(_is_plain_state, plain.values()))
    if isinstance(plain, list | tuple):
        return all(map(_is_plain_state, plain))
    return not isinstance(plain, str | bytes)


def _put(slot: Slot, value: Any) -> None:
    """Into the object that is there, if it is of that kind: others may hold it too."""
    try:
        now = slot.get()
    except LookupError:
        return
    value = _made(value)
    try:
        if isinstance(now, GENERATORS):
            set_state_of(now, value["~random"])
        elif isinstance(now, list) and isinstance(value, list):
            now[:] = value
        elif isinstance(now, dict | set) and isinstance(value, dict | set):
            now.clear()
            now.update(value)
        elif isinstance(now, deque) and isinstance(value, deque):
            now.clear()
            now.extend(value)
        elif isinstance(now, np.ndarray) and isinstance(value, np.ndarray) and _is_like(now, value):
            now[...] = value
        else:
            slot.set(tf.constant(value) if isinstance(now, tf.Tensor) else value)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, IndexError) as error:
        raise InvalidPair(f"the .pkl's value of {slot.path} is malformed: {error}") from None


def _made(value: Any) -> Any:
    """The counterpart of ``_described``, but for the state of a random generator."""
    if isinstance(value, dict):
        match list(value.items()):
            case [("~random", _)]:
                return value
            case [("~deque", items)]:
                return deque(map(_made, items))
            case [("~set" | "~frozenset" as kind, items)]:
                return (set if kind == "~set" else frozenset)(map(_made, items))
        return {key: _made(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_made, value))
    return value


def _is_like(now: np.ndarray, value: np.ndarray) -> bool:
    return now.shape == value.shape and now.dtype == value.dtype and bool(now.flags.writeable)

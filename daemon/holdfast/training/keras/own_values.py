"""Plain Python values of the script's own objects that change during a training: counters, lists, generators.

They are found where callbacks lead to: attributes of a callback, of its helpers, and what its functions refer to. We
cannot know which of them are state, so what has changed since the training began is kept, and set again as a training
resumes. Strings never are: a file that anybody may have written must not choose a path or a command.

What the model, its loss and its metrics lead to is only watched: a step that is compiled has read such a value once, so
setting it would not bring back what an undisturbed training computes. What has changed there is named.
"""

from __future__ import annotations

import copy
import io
import itertools
import types
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ...core.errors import InvalidPair, one_line
from ..data.keras_in_use import keras
from ..pair.plain import from_plain, to_plain_part
from ..session.random_state import GENERATORS, set_state_of, state_of
from .backends.chosen import backend
from .object_graph import INSIDE, OF_CLASS, Slot
from .watched import Watched

_MOST_LOOKED_AT = 2000
_ALL_LOOKED_AT_BYTES = 16 << 20
_WALKED = (keras.Variable, keras.Layer, keras.optimizers.Optimizer, types.FunctionType, type)
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
            if (above := slots.get(f"{path}{OF_CLASS}")) is not None:  # set on the object since, and not yet here
                slots[path] = above.of_object()
                slots[path].set(copy.copy(above.get()))
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
            if slot.seen_by is not None and slot.key in getattr(slot.seen_by, "__dict__", ()):  # its own since
                slot = slot.of_object()
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
    if _is_walked(value):
        return _UNKNOWN
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        return (type(value).__name__, repr(value))
    if isinstance(value, np.ndarray):
        return _mark_of_array(value)
    if isinstance(value, backend().kinds().tensors):
        array = backend().array_of(value)
        return _UNKNOWN if array is None else _mark_of_array(array)
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
        if _is_walked(item):
            return _UNKNOWN
        one = _mark(item, looked_at)
        marks.append(id(item) if one is _UNKNOWN else one)
    return (size, zlib.crc32(repr(marks).encode()))


def _is_walked(value: Any) -> bool:
    return isinstance(value, (*_WALKED, *backend().kinds().variables))


def _mark_of_array(array: np.ndarray) -> Any:
    if array.dtype.hasobject:
        return _UNKNOWN
    if array.nbytes > _ALL_LOOKED_AT_BYTES:
        array = array.reshape(-1)[:: array.nbytes // _ALL_LOOKED_AT_BYTES + 1]
    return (array.dtype.str, array.shape, zlib.crc32(np.ascontiguousarray(array).tobytes()))


def _is_iterator(slot: Slot) -> bool:
    try:
        value = slot.get()
        return isinstance(value, Iterator) and not isinstance(value, io.IOBase)
    except Exception:  # as in ``mark``
        return False


# --- there and back


def _described(value: Any) -> Any:
    """What ``to_plain`` lacks, as dicts of marked keys. Raises TypeError for texts and for what is no plain value."""
    if isinstance(value, str | bytes):
        raise TypeError("a text")
    if isinstance(value, GENERATORS):
        return {"~random": state_of(value)}
    if isinstance(value, deque):
        items = [_inside(item) for item in value]
        return {"~deque": items} if value.maxlen is None else {"~deque": items, "~most": value.maxlen}
    if isinstance(value, set | frozenset):
        return {f"~{type(value).__name__}": [_described(item) for item in sorted(value, key=repr)]}
    if isinstance(value, dict):
        return {key: _inside(item) for key, item in value.items()}
    if _is_walked(value):
        raise TypeError(f"a {type(value).__name__}")
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [_inside(item) for item in value] if isinstance(value, list) else tuple(map(_inside, value))
    return value


def _inside(value: Any) -> Any:
    """What is held by another value is made anew: a Counter, say, would come back as a dict."""
    if isinstance(value, dict | list | tuple | set | frozenset | deque) and type(value) not in _MADE_ANEW:
        raise TypeError(f"a {type(value).__name__}")
    return _described(value)


_MADE_ANEW = {dict, OrderedDict, list, tuple, set, frozenset, deque}


def _is_plain_state(plain: Any) -> bool:
    """No texts but as keys, and in the state of a random generator, which checks it."""
    if isinstance(plain, dict):
        return set(plain) in ({"~random"}, {"~array"}, {"~number"}) or all(map(_is_plain_state, plain.values()))
    if isinstance(plain, list | tuple):
        return all(map(_is_plain_state, plain))
    return not isinstance(plain, str | bytes)


def _put(slot: Slot, value: Any) -> None:
    """Into the object that is there, if it is of that kind: others may hold it too."""
    try:
        now = slot.get()
    except LookupError:
        return
    try:
        value = _made(value)
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
            slot.set(backend().tensor_of(value) if isinstance(now, backend().kinds().tensors) else value)
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
            case [("~deque", items), ("~most", most)]:
                return deque(map(_made, items), most)
            case [("~set" | "~frozenset" as kind, items)]:
                return (set if kind == "~set" else frozenset)(map(_made, items))
        return {key: _made(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_made, value))
    return value


def _is_like(now: np.ndarray, value: np.ndarray) -> bool:
    return now.shape == value.shape and now.dtype == value.dtype and bool(now.flags.writeable)

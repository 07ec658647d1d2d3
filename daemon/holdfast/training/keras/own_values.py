"""Plain Python values of the script's own objects that change during a training: counters, lists, generators.

They are found where callbacks lead to: attributes of a callback, of its helpers, and what its functions refer to. We
cannot know which of them are state, so what has changed since the training began is kept, and set again as a training
resumes. Strings never are: a file that anybody may have written must not choose a path or a command.

What the model, its loss and its metrics lead to is only watched: a step that is compiled has read such a value once, so
setting it would not bring back what an undisturbed training computes. What has changed there is named.
"""

from __future__ import annotations

import array
import contextlib
import copy
import enum
import io
import itertools
import types
import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np

from ...core.errors import InvalidPair, one_line
from ..data.keras_in_use import keras
from ..data.python.references import is_own
from ..pair.marked import FACTORIES, Marked, NoSuchMember, is_marked, values_in
from ..pair.plain import from_plain, to_plain_part
from ..session.random_state import GENERATORS, set_state_of, state_of
from . import callback_state
from .backends.chosen import backend
from .object_graph import INSIDE, OF_CLASS, Slot, number_of
from .watched import Watched

_MOST_LOOKED_AT = 20_000
_AT_ONCE = 10_000
_ALL_LOOKED_AT_BYTES = 16 << 20
_WALKED = (keras.Variable, keras.Layer, keras.optimizers.Optimizer, types.FunctionType, type)
_SCALARS = {type(None), bool, int, float, complex, str, bytes}
_NUMBERS = (bool, int, float, complex, str, bytes, bytearray, np.generic, Decimal, date, timedelta)
_UNKNOWN, _CUT = object(), object()
Say = Callable[[str], None]


class OwnValues:
    """``begin`` is called once all callbacks have seen the training begin. ``read`` gives plain values, by path."""

    def __init__(self, watched: Watched, say: Say) -> None:
        self._watched = watched
        self._say = say
        self._before: dict[str, Any] = {}
        self._bound: dict[str, Any] = {}
        self._known: set[int] = set()
        self._of_model: dict[str, Any] | None = None
        self._kept: set[str] = set()
        self._lost: set[str] = set()

    def begin(self) -> None:
        for slot, now in self._slots():
            self._before[slot.path] = now
            if now is _UNKNOWN:
                self._bound[slot.path] = _binding(slot.get())
            with contextlib.suppress(Exception):  # as in ``mark``
                self._known.update(map(number_of, _objects_in(slot.get())))
        self._known.update(map(number_of, self._watched.found.layers.values()))

    def read(self) -> dict[str, Any]:
        found = {}
        for slot, now in self._slots():
            if now is _UNKNOWN:
                self._look_for_another(slot)
                continue
            if slot.path not in self._kept and now is not _CUT and now == self._before.get(slot.path, _UNKNOWN):
                continue
            try:
                self._check_place(slot)
                value = to_plain_part(_described(slot.get()), members=True)
            except LookupError:
                continue
            except TypeError as error:
                self._lose(slot, f"is not kept: it holds {error}")
            except Exception as error:  # as above: the training must not die of it
                self._lose(slot, f"is not kept ({type(error).__name__})")
            else:
                self._kept.add(slot.path)
                self._lost.discard(slot.path)
                found[slot.path] = value
        self.watch_model()
        return found

    @property
    def lost(self) -> list[str]:
        """The paths of what has changed and is not kept."""
        return sorted(self._lost)

    def _lose(self, slot: Slot, why: str) -> None:
        self._lost.add(slot.path)
        self._say(f"{slot.path} {why}. {_REMEDY}")

    def _check_place(self, slot: Slot) -> None:
        """Raises TypeError for a value that a resume could not set there."""
        value, before = slot.get(), self._before.get(slot.path)
        if isinstance(value, enum.Enum) and not (isinstance(before, tuple) and before[0] is type(value)):
            raise TypeError(f"a {type(value).__name__}, and none as the training begins")
        is_frozen = getattr(getattr(type(slot.holder), "__dataclass_params__", None), "frozen", False)
        if is_frozen and not isinstance(value, _FILLED):
            raise TypeError(f"another {type(slot.holder).__name__} than as the training began, which is frozen")

    def _look_for_another(self, slot: Slot) -> None:
        """For an object in the place of another one: a resume has the first again. One that is made anew, of the same
        class, is none: what it counts is looked at by itself.
        """
        value, before = slot.get(), self._bound.get(slot.path)
        now = _binding(value)
        if now == before:
            return
        other_class = before is not None and before[0] is not type(value) and is_own(type(value))
        if isinstance(value, _RULES) or other_class or number_of(value) in self._known:
            self._lose(slot, "is another object than as the training began, and that is not kept")

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Raises InvalidPair for what ``read`` cannot have given."""
        slots = {slot.path: slot for slot, now in self._slots() if now is not _UNKNOWN}
        for path, plain in saved.items():
            if (above := slots.get(f"{path}{OF_CLASS}")) is not None:  # set on the object since, and not yet here
                slots[path] = above.of_object()
                slots[path].set(copy.copy(above.get()))
            if path not in slots:
                self._say(
                    f"the checkpoint holds the value of {one_line(str(path))[:200]}, and this script has none there"
                )
                continue
            if not _is_plain_state(plain, outside=True):
                raise InvalidPair(f"the .pkl's value of {path} is malformed")
            self._kept.add(path)
            self._put(slots[path], plain)

    def _put(self, slot: Slot, plain: Any) -> None:
        """Into the object that is there, if it is of that kind: others may hold it too."""
        try:
            now = slot.get()
        except LookupError:
            return
        if isinstance(plain, dict) and set(plain) == {"~enum"} and not _has_member(now, plain["~enum"]):
            self._say(f"{slot.path}: the checkpoint holds a member of an Enum, and this script has no such one there")
            return
        try:
            value = _made(plain, now)
            if _fill(now, value):
                return
        except NoSuchMember as error:
            self._say(f"{slot.path}: {error}")
            return
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError, IndexError) as error:
            raise InvalidPair(f"the .pkl's value of {slot.path} is malformed: {error}") from None
        try:
            slot.set(value)
        except Exception as error:  # of a class that lets nobody set it
            self._say(f"{slot.path} cannot be set to the checkpoint's value ({type(error).__name__}). {_REMEDY}")

    def _slots(self) -> Iterator[tuple[Slot, Any]]:
        """Of the callbacks that don't say themselves what their state is; each with its mark."""
        mine = self._watched.own_callbacks()
        for path, callback in mine.items():
            yield from ((slot, mark(slot)) for slot in callback_state.settings(path, callback))
        for slot in self._watched.found.slots:
            if slot.seen_by is not None and slot.key in getattr(slot.seen_by, "__dict__", ()):  # its own since
                slot = slot.of_object()
            if slot.path.split(".")[0].split(":")[0] in mine:
                if _is_iterator(slot):
                    self._lose(slot, "is an iterator: where it stands is not kept")
                elif (now := mark(slot)) is not _GONE:
                    yield slot, now

    def watch_model(self) -> None:
        """From the second look on: a first step makes and sets things that no later one touches."""
        slots = [slot for slot in self._watched.found.slots if slot.path.startswith(INSIDE)]
        now = {slot.path: mark(slot) for slot in slots}
        before = now if self._of_model is None else self._of_model
        for path in now:
            if now[path] not in (_UNKNOWN, _GONE) and now[path] != before.get(path, now[path]):
                self._say(f"{path} changes during the training, and is not kept: make it a keras.Variable")
        self._of_model = {**now, **before}


_REMEDY = "Give the callback get_state() and set_state(state)"
_RULES = (types.FunctionType, types.MethodType, partial, type)
_FILLED = (list, dict, set, deque, np.ndarray)
_GONE = object()


def mark(slot: Slot) -> Any:
    """Two marks differ if the value has changed. _UNKNOWN for what is no value, _CUT for one that is too large to be
    looked at as a whole, _GONE for none.
    """
    try:
        value = slot.get()
    except Exception:  # as below
        return _GONE
    try:
        return _mark(value, itertools.count())
    except _TooLarge:
        return _CUT
    except Exception:  # whatever an object of the script's does when it is looked at, or if it holds itself
        return _GONE


class _TooLarge(Exception):
    pass


def _mark(value: Any, looked_at: Iterator[int]) -> Any:
    if next(looked_at) > _MOST_LOOKED_AT:
        raise _TooLarge
    if _is_walked(value):
        return _UNKNOWN
    if isinstance(value, enum.Enum):
        return (type(value), value.name)
    if value is None or isinstance(value, _NUMBERS):
        return (type(value).__name__, repr(value))
    if isinstance(value, np.ndarray):
        return _mark_of_array(value)
    if isinstance(value, backend().kinds().tensors):
        array = backend().array_of(value)
        return _UNKNOWN if array is None else _mark_of_array(array)
    if isinstance(value, GENERATORS):
        return repr(state_of(value))
    if isinstance(value, dict):
        parts = [list(value), list(value.values())]
    elif isinstance(value, list | tuple | deque | set | frozenset):
        parts = [list(value)]
    else:
        return _UNKNOWN
    marks = [_mark_of_items(part, looked_at, isinstance(value, set | frozenset)) for part in parts]
    return _UNKNOWN if _UNKNOWN in marks else (type(value).__name__, len(parts[0]), *marks)


def _mark_of_items(items: list[Any], looked_at: Iterator[int], unordered: bool) -> Any:
    """One mark of all. Objects among them are known by which they are."""
    kinds = set(map(type, items))
    if kinds <= _SCALARS:
        return _mark_of_scalars(items, kinds, unordered)
    marks = []
    for item in items:
        if _is_walked(item):
            return _UNKNOWN
        one = _mark(item, looked_at)
        marks.append(repr(number_of(item) if one is _UNKNOWN else one))
    return zlib.crc32("\0".join(sorted(marks) if unordered else marks).encode())


def _mark_of_scalars(items: list[Any], kinds: set[type], unordered: bool) -> int:
    """Of all of them, however many there are."""
    if unordered:
        return sum(zlib.crc32(repr(item).encode()) for item in items)
    if kinds == {float}:
        return zlib.crc32(array.array("d", items))
    checksum = 0
    for first in range(0, len(items), _AT_ONCE):
        checksum = zlib.crc32(repr(items[first : first + _AT_ONCE]).encode(), checksum)
    return checksum


def _binding(value: Any) -> tuple[Any, ...]:
    """Which object it is; a function by its code, as a script makes it again and again."""
    if isinstance(value, types.MethodType):
        return (type(value), getattr(value.__func__, "__code__", None), number_of(value.__self__))
    if isinstance(value, partial):
        return (type(value), *_binding(value.func))
    return (type(value), value.__code__ if isinstance(value, types.FunctionType) else number_of(value))


def _objects_in(value: Any) -> Iterator[Any]:
    items = value.values() if isinstance(value, dict) else value
    for one in [value, *(items if isinstance(value, dict | list | tuple | set | frozenset | deque) else ())]:
        if type(one) not in _SCALARS and not isinstance(one, (*_NUMBERS, np.ndarray, dict, list, tuple)):
            yield one


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
    """What ``to_plain`` takes. Raises TypeError for texts, and for what would not come back as it is."""
    if isinstance(value, GENERATORS):
        return Marked({"~random": state_of(value)})
    if isinstance(value, enum.Enum):
        if value.name not in type(value).__members__:
            raise TypeError("a combination of flags")
        return Marked({"~enum": value.name})
    if isinstance(value, dict) and type(value) not in _MADE_ANEW:  # it is filled again
        value = dict(value)
    elif isinstance(value, list) and type(value) is not list:
        value = list(value)
    if isinstance(value, defaultdict) and value.default_factory not in FACTORIES:
        value = dict(value)
    _check(value)
    return value


def _check(value: Any) -> None:
    """Raises TypeError for what could not be made anew."""
    if isinstance(value, enum.Enum):  # ``encoded_member`` looks at it
        return
    if isinstance(value, str | bytes):
        raise TypeError("a text")
    if _is_walked(value) or isinstance(value, GENERATORS):
        raise TypeError(f"a {type(value).__name__}")
    if isinstance(value, dict | list | tuple | set | frozenset | deque):
        if type(value) not in _MADE_ANEW:
            raise TypeError(f"a {type(value).__name__}")
        for item in value.values() if isinstance(value, dict) else value:
            _check(item)


_MADE_ANEW = {dict, OrderedDict, Counter, defaultdict, list, tuple, set, frozenset, deque}
_OF_OBJECTS = ({"~random"}, {"~enum"})  # what is there already is set to it


def _is_plain_state(plain: Any, outside: bool = False) -> bool:
    """No texts but as keys, as names of an Enum's member, and in the state of a random generator, which checks it."""
    if isinstance(plain, dict):
        if set(plain) in ({"~array"}, {"~number"}, {"~member"}) or (outside and set(plain) in _OF_OBJECTS):
            return True
        return all(map(_is_plain_state, values_in(plain) if is_marked(plain) else plain.values()))
    if isinstance(plain, list | tuple):
        return all(map(_is_plain_state, plain))
    return not isinstance(plain, str | bytes)


def _has_member(now: Any, name: Any) -> bool:
    return isinstance(now, enum.Enum) and isinstance(name, str) and name in type(now).__members__


def _made(plain: Any, now: Any) -> Any:
    """The value for the place where ``now`` stands."""
    kind = set(plain) if isinstance(plain, dict) else None
    if isinstance(now, backend().kinds().tensors):
        return backend().tensor_of(from_plain(plain))
    if kind == {"~random"}:
        set_state_of(now, from_plain(plain["~random"]))
        return now
    if kind == {"~enum"}:
        return type(now)[plain["~enum"]]
    return from_plain(plain)


def _fill(now: Any, value: Any) -> bool:
    """False where ``value`` is to be set in its place."""
    if now is value:
        return True
    if isinstance(now, list) and isinstance(value, list):
        now[:] = value
    elif (isinstance(now, dict) and type(value) in (dict, type(now))) or (isinstance(now, set) and type(value) is set):
        now.clear()
        now.update(value)
    elif isinstance(now, deque) and isinstance(value, deque):
        now.clear()
        now.extend(value)
    elif isinstance(now, np.ndarray) and isinstance(value, np.ndarray) and _is_like(now, value):
        now[...] = value
    else:
        return False
    return True


def _is_like(now: np.ndarray, value: np.ndarray) -> bool:
    return now.shape == value.shape and now.dtype == value.dtype and bool(now.flags.writeable)

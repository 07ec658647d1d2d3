"""Plain Python values of the script's own objects that change during a training: counters, lists, generators.

They are found where callbacks lead to: attributes of a callback, of its helpers, and what its functions refer to. We
cannot know which of them are state, so what has changed since the training began is kept, and set again as a training
resumes. Strings never are: a file that anybody may have written must not choose a path or a command.

What the model, its loss and its metrics lead to is only watched: a step that is compiled has read such a value once, so
setting it would not bring back what an undisturbed training computes. What has changed there is named.
"""

from __future__ import annotations

import contextlib
import copy
import enum
import io
import types
import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from ...core.errors import InvalidPair, one_line
from ..data.keras_in_use import keras
from ..data.python.references import is_own
from ..data.same import CONTAINERS, NUMBERS, AllItems, One
from ..pair.marked import FACTORIES, Marked, NoSuchMember, is_marked, values_in
from ..pair.plain import from_plain, to_plain_part
from ..session.random_state import GENERATORS, set_state_of, state_of
from . import callback_state
from .backends.chosen import backend
from .object_graph import INSIDE, OF_CLASS, Slot
from .watched import Watched

_MOST_LOOKED_AT = 20_000
_ALL_LOOKED_AT_BYTES = 16 << 20
_WALKED = (keras.Variable, keras.Layer, keras.optimizers.Optimizer, types.FunctionType, type)
_SCALARS = {type(None), bool, int, float, complex, str, bytes}
_NUMBERS = (*NUMBERS, bytearray)
_UNKNOWN = object()
Say = Callable[[str], None]


class OwnValues:
    """``begin`` is called once all callbacks have seen the training begin. ``read`` gives plain values, by path."""

    def __init__(self, watched: Watched, say: Say) -> None:
        self._watched = watched
        self._say = say
        self._before: dict[str, Any] = {}
        self._bound: dict[str, Any] = {}
        self._known: dict[int, One] = {}
        self._begun = False
        self._of_model: dict[str, Any] | None = None
        self._kept: set[str] = set()
        self._lost: set[str] = set()

    def begin(self) -> None:
        for slot, now in self._slots():
            self._before[slot.path] = now
            if now is _UNKNOWN:
                self._bound[slot.path] = _binding(slot.get())
            with contextlib.suppress(Exception):  # as in ``mark``
                self._known.update((id(one), One(one)) for one in _objects_in(slot.get()))
        self._known.update((id(one), One(one)) for one in self._watched.found.layers.values())

    def step_done(self) -> None:
        """Once an epoch, not before the second step: a first one makes and sets things that no later one touches."""
        if not self._begun:
            self._begun = True
            for slot, now in self._slots():
                if now is _UNKNOWN:
                    self._bound.setdefault(slot.path, _binding(slot.get()))
        self._watch_model(whole_batches=True)

    def read(self, within_epoch: bool = True) -> dict[str, Any]:
        found = {}
        for slot, now in self._slots():
            if now is _UNKNOWN:
                self._look_for_another(slot)
                continue
            if slot.path not in self._kept and now == self._before.get(slot.path, _UNKNOWN):
                self._before[slot.path] = now  # what was made anew, of the same values, is not compared again
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
                if isinstance(self._before.get(slot.path), AllItems):
                    del self._before[slot.path]  # it would hold items that are gone
                self._lost.discard(slot.path)
                found[slot.path] = value
        if self._begun:
            self._watch_model(within_epoch)
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
        if now == before or (before is None and not self._begun):  # each start sets it, as its first epoch begins
            return
        other_class = before is not None and before[0] is not type(value) and is_own(type(value))
        if isinstance(value, _RULES) or other_class or self._is_known(value):
            self._lose(slot, "is another object than as the training began, and that is not kept")

    def _is_known(self, value: Any) -> bool:
        known = self._known.get(id(value))
        return known is not None and known.is_(value)

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

    def _watch_model(self, whole_batches: bool) -> None:
        """From the second step on. The last batch of an epoch may be smaller, and an integer its size."""
        slots = [slot for slot in self._watched.found.slots if slot.path.startswith(INSIDE)]
        now = {slot.path: mark(slot) for slot in slots if whole_batches or not _is_of_sizes(slot)}
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
    """Two marks differ if the value has changed. _UNKNOWN for what is no value, _GONE for none. One looks at which
    items there are, a million below the outermost ones, and at 16 MiB of arrays: more costs no more.
    """
    try:
        value = slot.get()
    except Exception:  # as below
        return _GONE
    try:
        return _mark(value)
    except Exception:  # whatever an object of the script's does when it is looked at, or if it holds itself
        return _GONE


def _mark(value: Any) -> Any:
    if _is_walked(value):
        return _UNKNOWN
    if isinstance(value, enum.Enum):
        return (type(value), value.name)
    if value is None or isinstance(value, _NUMBERS):
        return (type(value).__name__, repr(value))
    if isinstance(value, CONTAINERS):
        items = list(value.values() if isinstance(value, dict) else value)
        one_of_each = {type(item): item for item in items} if set(map(type, items)) - _SCALARS else {}
        return _UNKNOWN if any(map(_is_walked, one_of_each.values())) else AllItems(value, _is_altered, _marks)
    return _mark_of_state(value)


def _is_altered(item: Any) -> bool:
    """In itself, so that it is another value and the same object."""
    return isinstance(item, (np.ndarray, bytearray, *GENERATORS, *backend().kinds().tensors))


def _marks(items: list[Any]) -> tuple[bool, list[Any]]:
    """Of arrays and the like within one value: of some thousands, and of some MiB in all."""
    looked_at = items[:: len(items) // _MOST_LOOKED_AT + 1]
    every = sum(int(getattr(item, "nbytes", 0)) for item in looked_at) // _ALL_LOOKED_AT_BYTES + 1
    return (len(looked_at) == len(items) and every == 1), [_mark_of_state(item, every) for item in looked_at]


def _mark_of_state(value: Any, every: int = 1) -> Any:
    if isinstance(value, backend().kinds().tensors):
        value = backend().array_of(value)
    if isinstance(value, np.ndarray):
        return _mark_of_array(value, every)
    if isinstance(value, GENERATORS):
        return repr(state_of(value))
    return bytes(value) if isinstance(value, bytearray) else _UNKNOWN


def _mark_of_array(array: np.ndarray, every: int) -> Any:
    if array.dtype.hasobject:
        return _UNKNOWN
    every = max(every, -(-array.nbytes // _ALL_LOOKED_AT_BYTES))
    looked_at = array if every == 1 else array.reshape(-1)[::every]
    return (array.dtype.str, array.shape, zlib.crc32(np.ascontiguousarray(looked_at).tobytes()))


def _binding(value: Any) -> tuple[Any, ...]:
    """Which object it is; a function by its code, as a script makes it again and again, and a partial one by what it is
    given, too.
    """
    if isinstance(value, types.MethodType):
        return (type(value), getattr(value.__func__, "__code__", None), One(value.__self__))
    if isinstance(value, partial):
        given = [*value.args, *(part for name in sorted(value.keywords) for part in (name, value.keywords[name]))]
        return (type(value), _binding(value.func), *map(_given, given))
    return (type(value), value.__code__ if isinstance(value, types.FunctionType) else One(value))


def _given(value: Any) -> Any:
    """An argument: a value, or a function. Another object may be made again and again."""
    now = _mark(value)
    if now is not _UNKNOWN:
        return now
    return _binding(value) if isinstance(value, types.FunctionType | partial) else type(value)


def _objects_in(value: Any) -> Iterator[Any]:
    items = value.values() if isinstance(value, dict) else value
    for one in [value, *(items if isinstance(value, dict | list | tuple | set | frozenset | deque) else ())]:
        if type(one) not in _SCALARS and not isinstance(one, (*_NUMBERS, np.ndarray, dict, list, tuple)):
            yield one


def _is_walked(value: Any) -> bool:
    return isinstance(value, (*_WALKED, *backend().kinds().variables))


def _is_of_sizes(slot: Slot) -> bool:
    try:
        value = slot.get()
        return type(value) is int or (type(value) is tuple and all(type(item) in (int, type(None)) for item in value))
    except Exception:  # as in ``mark``
        return False


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

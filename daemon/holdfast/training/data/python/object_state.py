"""What a dataset object of the script's changed in itself since ``fit`` began, as plain values, and back.

Random generators are kept always. Numbers, arrays of numbers, and lists, sets and the like of numbers are kept once
they have changed. A text is not: a file that anybody may have written must not choose a path or a command. An order (a
list, an array of texts or of distinct integers) is kept by the places of its items among all of them sorted, so paths
may be others on another machine. It is kept though unchanged: an unseeded start makes another one.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from ....core.errors import InvalidPair
from ...pair.plain import from_plain, to_plain
from ...session.random_state import check_state_of, is_generator, set_state_of, state_of
from ..same import Same
from .get_set_state import NotTold, ToldState, tells
from .orders import ORDER, order_of
from .slots import MOST_SLOTS, NUMBERS, Slots, ValueSlot, is_no_value

_MOST_BYTES = 64 << 20
_ALL_LOOKED_AT = 16 << 20
_ROWS = 256
_MOST_ITEMS = 100_000
_FEW = 32
_SET, _DEQUE = "~set", "~deque"
_NONE = repr(None)
_REMEDY = "shuffle an array of indices instead, or give the dataset get_state() and set_state(state)"
_OFFER = "give {} get_state() and set_state(state)"


class ObjectState:
    """Of ``root``, as it is now and as it will be. ``say`` receives what cannot be kept, with the remedy."""

    def __init__(self, root: Any, say: Callable[[str], None]) -> None:
        self._say = say
        found = Slots(root)
        self._generators = found.generators
        self._holders = found.holders
        self._slots = {slot.path: slot for slot in (*found.generators, *found.values)}
        self._orders = {path: order_of(slot.get()) for path, slot in self._slots.items()}
        self._marks = {path: _mark(slot.get()) for path, slot in self._slots.items()}
        self._keys = {slot.path: set(value) for slot in found.values if isinstance(value := slot.get(), dict)}
        self._changed: set[str] = set()
        self._small = [slot for slot in found.values if not slot.shared and _is_small(slot.get())]
        name = type(root).__name__
        for path in found.iterators:
            self._say(f"{path} is an iterator: where it stands is not kept. Read by index, or {_OFFER.format(name)}")
        self._limits = []
        if found.deep is not None:
            self._limits.append(
                f"{found.deep} lies deeper in {name} than is looked at: but for random generators, what changes there "
                f"during the training is not kept: {_OFFER.format(name)}"
            )
        if found.cut:
            self._limits.append(
                f"{name} holds more than {MOST_SLOTS} values, and is not looked at as a whole: what changes in "
                f"the rest of it during the training is not kept: {_OFFER.format(name)}"
            )

    @property
    def generators(self) -> list[Any]:
        return [value for slot in self._generators if is_generator(value := slot.get())]

    @property
    def changes(self) -> bool:
        """Has anything changed since ``fit`` began?"""
        return bool(self._changed)

    def small(self) -> dict[str, Any]:
        """Generators, and numbers that have changed: what making a batch may change."""
        found = {}
        for slot in self._generators:
            if is_generator(value := slot.get()):
                found[slot.path] = {"~random": to_plain(state_of(value))}
        for slot in self._small:
            value = slot.get()
            if _is_small(value) and self._has_changed(slot, value) and self._is_kept(slot.path, value):
                found[slot.path] = to_plain(value, typed=True)
        return found

    def read(self) -> dict[str, Any]:
        found = self.small()
        for path, slot in self._slots.items():
            value = slot.get()
            changed = self._has_changed(slot, value)
            order = self._orders[path]
            places = order.places(value) if order is not None and isinstance(value, list | np.ndarray) else None
            if places is not None:
                found[path] = places
            elif changed and path not in found:
                if self._is_kept(path, value):
                    found[path] = _to_plain(value)
                else:
                    self._say(f"{path} changes during the training, and is not kept: {_REMEDY}")
        added = [path for holder in self._holders for path in holder.added]
        for path in added:
            self._say(f"{path} is added during the training, and is not kept: make it in __init__, or {_REMEDY}")
        if self._changed or added:  # then what is not looked at may change, too
            for text in self._limits:
                self._say(text)
            self._limits = []
        return found

    def _has_changed(self, slot: ValueSlot, value: Any) -> bool:
        """Since ``fit`` began."""
        if slot.path in self._changed:
            return True
        mark, before = _mark(value), self._marks.get(slot.path)
        if mark != before and not (before == _NONE and is_no_value(value)):
            self._changed.add(slot.path)
            self._marks.pop(slot.path, None)  # it would hold items that are gone
        return slot.path in self._changed

    def _is_kept(self, path: str, value: Any) -> bool:
        if isinstance(value, dict):
            added = value.keys() - self._keys.get(path, set())
            return _is_plain([*value.values(), *added])
        return _is_plain(value)

    def check(self, saved: Mapping[str, Any]) -> None:
        """Raises InvalidPair for what ``put`` would refuse. Nothing is set."""
        for path, plain in saved.items():
            if (slot := self._slots.get(path)) is not None:
                with _naming(path):
                    self._check(slot, plain)

    def _check(self, slot: ValueSlot, plain: Any) -> None:
        order, now = self._orders[slot.path], slot.get()
        if order is not None and isinstance(plain, dict) and ORDER in plain:
            order.items(plain)
        elif is_generator(now):
            check_state_of(now, plain["~random"])
        else:
            self._value(slot, plain)

    def put(self, saved: Mapping[str, Any]) -> None:
        """What ``read`` or ``small`` gave. Raises InvalidPair for what they cannot have given."""
        for path, plain in saved.items():
            slot = self._slots.get(path)
            if slot is None:
                self._say(
                    f"the checkpoint holds the value of {str(path)[:200]!r}, and this script's data has none there"
                )
                continue
            with _naming(path):
                self._put(slot, plain)

    def _put(self, slot: ValueSlot, plain: Any) -> None:
        now = slot.get()
        order = self._orders[slot.path]
        if order is not None and isinstance(plain, dict) and ORDER in plain:
            items = order.items(plain)
            if items is None:
                self._say(f"{slot.path} has other items than when the checkpoint was made: its order is not restored")
                return
            self._changed.add(slot.path)
            _set_items(slot, now, items)
        elif is_generator(now):
            set_state_of(now, plain["~random"])
        else:
            self._changed.add(slot.path)
            value = self._value(slot, plain)
            if isinstance(now, np.ndarray) and now.flags.writeable and (now.shape, now.dtype) == _form(value):
                now[...] = value
            elif not _refill(now, value):
                slot.set(value)

    def _value(self, slot: ValueSlot, plain: Any) -> Any:
        value = _from_plain(plain)
        if not self._is_kept(slot.path, value):
            raise TypeError("not numbers")
        return value


def state_in(dataset: Any, say: Callable[[str], None]) -> ObjectState | ToldState:
    """What it tells itself, or what is seen to change in it."""
    if tells(dataset):
        try:
            return ToldState(dataset, say)
        except NotTold as error:
            say(str(error))
    return ObjectState(dataset, say)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, IndexError) as error:
        raise InvalidPair(f"the .pkl's value of {path} is malformed: {error}") from None


def _is_small(value: Any) -> bool:
    """Looked at before each draw."""
    if isinstance(value, dict):
        return len(value) <= _FEW and all(map(_is_scalar, value.values()))
    return _is_scalar(value)


def _is_plain(value: Any) -> bool:
    """Numbers, alone or in an array or the like that is not large."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc" and value.nbytes <= _MOST_BYTES
    if isinstance(value, list | tuple | set | deque) and not hasattr(value, "_fields"):
        return len(value) <= _MOST_ITEMS and all(map(_is_scalar, value))
    return _is_scalar(value)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, NUMBERS)


def _to_plain(value: Any) -> Any:
    if isinstance(value, set):
        return {_SET: to_plain(sorted(value, key=repr), typed=True)}
    return {_DEQUE: to_plain(list(value), typed=True)} if isinstance(value, deque) else to_plain(value, typed=True)


def _from_plain(plain: Any) -> Any:
    value = from_plain(plain)
    if isinstance(value, dict) and set(value) == {_SET}:
        return set(value[_SET])
    return deque(value[_DEQUE]) if isinstance(value, dict) and set(value) == {_DEQUE} else value


def _refill(now: Any, value: Any) -> bool:
    """A dict, set or deque stays the same object, of its own class. False for anything else."""
    if isinstance(now, deque) and isinstance(value, deque):
        now.clear()
        now.extend(value)
    elif (isinstance(now, dict) and isinstance(value, dict)) or (isinstance(now, set) and isinstance(value, set)):
        now.clear()
        now.update(value)
    else:
        return False
    return True


def _set_items(slot: ValueSlot, now: Any, items: list[Any]) -> None:
    if isinstance(now, list) or (now.flags.writeable and len(now) == len(items)):
        now[:] = items
    else:
        slot.set(np.asarray(items, now.dtype))


def _mark(value: Any) -> Any:
    """Two marks differ if the value has changed. Of a large array some rows are looked at."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return Same(tuple(value.flat))
        if value.nbytes > _ALL_LOOKED_AT:
            rows = min(_ROWS, max(1, _ALL_LOOKED_AT * len(value) // value.nbytes))
            value = value[:: max(1, len(value) // rows)][:rows]
        return (value.dtype.str, value.shape, zlib.crc32(np.ascontiguousarray(value).data))
    if isinstance(value, list | tuple | set | deque):
        return Same(tuple(value))  # copied at once: another thread may add to it
    if isinstance(value, dict):
        return hash(repr(value.copy()))
    if is_generator(value):
        return None
    return repr(value) if isinstance(value, (*NUMBERS, str)) or value is None else Same((value,))


def _form(value: Any) -> Any:
    return (getattr(value, "shape", None), getattr(value, "dtype", None))

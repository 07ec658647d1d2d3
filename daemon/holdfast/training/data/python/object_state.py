"""What a dataset object of the script's changed in itself since ``fit`` began, as plain values, and back.

Random generators are kept always. Numbers and arrays are kept once they have changed. An order (a list, an array of
texts or of distinct integers) is kept by the places of its items among all of them sorted, so paths may be others on
another machine. It is kept though unchanged: an unseeded start makes another one.
"""

from __future__ import annotations

import types
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ....core.errors import InvalidPair
from ...pair.plain import from_plain, to_plain
from ...session.random_state import GENERATORS, set_state_of, state_of
from .orders import ORDER, order_of

_MOST_SLOTS = 1000
_DEEPEST = 4
_MOST_BYTES = 64 << 20
_ALL_LOOKED_AT = 16 << 20
_ROWS = 256
_MOST_ITEMS = 100_000
_NUMBERS = (bool, int, float, np.number, np.bool_)
_OF_KERAS = {"_workers", "_use_multiprocessing", "_max_queue_size"}
_REMEDY = "shuffle an array of indices instead, or give the dataset get_state() and set_state(state)"


class ValueSlot(NamedTuple):
    """An attribute or an item, by the path that leads there."""

    path: str
    holder: Any
    key: Any

    def get(self) -> Any:
        return self.holder[self.key] if isinstance(self.holder, dict) else vars(self.holder).get(self.key)

    def set(self, value: Any) -> None:
        if isinstance(self.holder, dict):
            self.holder[self.key] = value
        else:
            setattr(self.holder, self.key, value)


class ObjectState:
    """Of ``root``, as it is now and as it will be. ``say`` receives what cannot be kept, with the remedy."""

    def __init__(self, root: Any, say: Callable[[str], None]) -> None:
        self._say = say
        self._slots = {slot.path: slot for slot in _slots(root, type(root).__name__)}
        self._orders = {path: order_of(slot.get()) for path, slot in self._slots.items()}
        self._marks = {path: _mark(slot.get()) for path, slot in self._slots.items()}
        self._changed: set[str] = set()
        self._small = [slot for slot in self._slots.values() if isinstance(slot.get(), (*GENERATORS, *_NUMBERS))]

    @property
    def generators(self) -> list[Any]:
        return [value for slot in self._small if isinstance(value := slot.get(), GENERATORS)]

    @property
    def changes(self) -> bool:
        """Has anything changed since ``fit`` began?"""
        return bool(self._changed)

    def small(self) -> dict[str, Any]:
        """Generators, and numbers that have changed: what making a batch may change."""
        found = {}
        for slot in self._small:
            value = slot.get()
            if isinstance(value, GENERATORS):
                found[slot.path] = {"~random": to_plain(state_of(value))}
            elif slot.path in self._changed or _mark(value) != self._marks[slot.path]:
                self._changed.add(slot.path)
                found[slot.path] = to_plain(value)
        return found

    def read(self) -> dict[str, Any]:
        found = self.small()
        for path, slot in self._slots.items():
            value = slot.get()
            if path not in self._changed and _mark(value) != self._marks[path]:
                self._changed.add(path)
            order = self._orders[path]
            places = order.places(value) if order is not None and isinstance(value, list | np.ndarray) else None
            if places is not None:
                found[path] = places
            elif path in self._changed and path not in found:
                if _is_numbers(value):
                    found[path] = to_plain(value)
                else:
                    self._say(f"{path} changes during the training, and is not kept: {_REMEDY}")
        return found

    def put(self, saved: Mapping[str, Any]) -> None:
        """What ``read`` or ``small`` gave. Raises InvalidPair for what they cannot have given."""
        for path, plain in saved.items():
            slot = self._slots.get(path)
            if slot is None:
                self._say(
                    f"the checkpoint holds the value of {str(path)[:200]!r}, and this script's data has none there"
                )
                continue
            try:
                self._put(slot, plain)
            except (TypeError, ValueError, KeyError, AttributeError, OverflowError, IndexError) as error:
                raise InvalidPair(f"the .pkl's value of {path} is malformed: {error}") from None

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
        elif isinstance(now, GENERATORS):
            set_state_of(now, plain["~random"])
        else:
            self._changed.add(slot.path)
            value = from_plain(plain)
            if not _is_numbers(value) and not isinstance(value, _NUMBERS):
                raise TypeError("not numbers")
            if isinstance(now, np.ndarray) and now.flags.writeable and (now.shape, now.dtype) == _form(value):
                now[...] = value
            else:
                slot.set(value)


def _slots(value: Any, path: str) -> Iterator[ValueSlot]:
    """Attributes of the script's own objects, and the items of their dicts, each object once."""
    seen: set[int] = set()
    waiting = [(path, value, 0)]
    count = 0
    while waiting and count < _MOST_SLOTS:
        path, value, depth = waiting.pop(0)
        if id(value) in seen or depth > _DEEPEST:
            continue
        seen.add(id(value))
        inside = value if isinstance(value, dict) else vars(value)
        for key, item in list(inside.items()):
            place = f"{path}[{key!r}]" if isinstance(value, dict) else f"{path}.{key}"
            if key in _OF_KERAS:
                continue
            if isinstance(item, (*GENERATORS, *_NUMBERS, np.ndarray, list)) or hasattr(item, "iloc"):
                count += 1
                yield ValueSlot(place, value, key)
            elif isinstance(item, dict) or _is_entered(item):
                waiting.append((place, item, depth + 1))


def _is_entered(value: Any) -> bool:
    """An object with attributes, of the script's or of a package that brings no arrays of its own."""
    foreign = ("numpy", "tensorflow", "keras", "torch", "jax", "pandas", "grain", "builtins")
    plain = not isinstance(value, type | types.ModuleType | types.FunctionType | types.MethodType)
    return plain and hasattr(value, "__dict__") and type(value).__module__.split(".")[0] not in foreign


def _is_numbers(value: Any) -> bool:
    """An array or a list of numbers, and not a large one."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc" and value.nbytes <= _MOST_BYTES
    return isinstance(value, list) and len(value) <= _MOST_ITEMS and all(isinstance(item, _NUMBERS) for item in value)


def _set_items(slot: ValueSlot, now: Any, items: list[Any]) -> None:
    if isinstance(now, list) or (now.flags.writeable and len(now) == len(items)):
        now[:] = items
    else:
        slot.set(np.asarray(items, now.dtype))


def _mark(value: Any) -> Any:
    """Two marks differ if the value has changed. Of a large array some rows are looked at."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            return tuple(map(id, value.flat))
        if value.nbytes > _ALL_LOOKED_AT:
            rows = min(_ROWS, max(1, _ALL_LOOKED_AT * len(value) // value.nbytes))
            value = value[:: max(1, len(value) // rows)][:rows]
        return (value.dtype.str, value.shape, zlib.crc32(np.ascontiguousarray(value).data))
    if isinstance(value, list):
        return hash(tuple(map(id, value)))
    if isinstance(value, GENERATORS):
        return None
    return repr(value) if isinstance(value, _NUMBERS) or value is None else id(value)


def _form(value: Any) -> Any:
    return (getattr(value, "shape", None), getattr(value, "dtype", None))

"""The places in an object of the script's whose values may change: its attributes, and those of what it holds."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...session.random_state import GENERATORS

NUMBERS = (bool, int, float, np.number, np.bool_)
_VALUES = (*NUMBERS, str, type(None), np.ndarray, list, tuple, set, deque)
_OF_KERAS = {"_workers", "_use_multiprocessing", "_max_queue_size"}
_DEEPEST = 4
_MOST_HOLDERS = 100_000
_MOST_ENTERED = 100  # items of a list that holds objects
MOST_SLOTS = 1000


class ValueSlot(NamedTuple):
    """An attribute or an item, by the path that leads there."""

    path: str
    holder: Any
    key: Any

    def get(self) -> Any:
        """None once it is no longer there."""
        if not isinstance(self.holder, dict | list | tuple):
            return vars(self.holder).get(self.key)
        try:
            return self.holder[self.key]
        except LookupError:
            return None

    def set(self, value: Any) -> None:
        if isinstance(self.holder, dict):
            self.holder[self.key] = value
        else:
            setattr(self.holder, self.key, value)


class Holder(NamedTuple):
    """An object, or a dict of more than numbers. ``keys`` are those that it had."""

    path: str
    value: Any
    keys: frozenset[Any]

    @property
    def added(self) -> list[str]:
        """Paths: of attributes, or of the dict itself."""
        keys = set(_inside(self.value)) - self.keys
        if isinstance(self.value, dict):
            return [self.path] if keys else []
        return [f"{self.path}.{key}" for key in sorted(keys - _OF_KERAS)]


class Slots:
    """All random generators below ``root``, and ``MOST_SLOTS`` other values: ``cut`` tells whether there are more."""

    def __init__(self, root: Any) -> None:
        self.generators: list[ValueSlot] = []
        self.values: list[ValueSlot] = []
        self.holders: list[Holder] = []
        self.cut = False
        for slot in self._walk(root):
            if isinstance(slot.get(), GENERATORS):
                self.generators.append(slot)
            elif len(self.values) < MOST_SLOTS:
                self.values.append(slot)
            else:
                self.cut = True

    def _walk(self, root: Any) -> Iterator[ValueSlot]:
        """Each object once, those that are nearer first."""
        seen: set[int] = set()
        waiting = deque([(type(root).__name__, root, 0)])
        while waiting:
            path, value, depth = waiting.popleft()
            if id(value) in seen or depth > _DEEPEST:
                continue
            if len(seen) >= _MOST_HOLDERS:
                self.cut = True
                return
            seen.add(id(value))
            is_list = isinstance(value, list | tuple)
            inside = _inside(value)
            if not is_list:
                self.holders.append(Holder(path, value, frozenset(inside)))
            for key, item in inside.items():
                place = f"{path}[{key!r}]" if isinstance(value, dict | list | tuple) else f"{path}.{key}"
                if key in _OF_KERAS:
                    continue
                if isinstance(item, GENERATORS) or (not is_list and _is_value(item)):
                    yield ValueSlot(place, value, key)
                if _is_entered(item) or (isinstance(item, list | tuple) and _holds_objects(item)):
                    waiting.append((place, item, depth + 1))


def _inside(holder: Any) -> dict[Any, Any]:
    if isinstance(holder, list | tuple):
        return dict(enumerate(holder))
    return dict(holder if isinstance(holder, dict) else getattr(holder, "__dict__", {}))


def _is_value(item: Any) -> bool:
    return isinstance(item, _VALUES) or _is_dict_of_numbers(item) or hasattr(item, "iloc")


def _is_dict_of_numbers(item: Any) -> bool:
    return isinstance(item, dict) and all(isinstance(value, NUMBERS) for value in item.values())


def _is_entered(item: Any) -> bool:
    """A dict, or an object with attributes, of the script's or of a package that brings no arrays of its own."""
    if isinstance(item, dict):
        return not _is_dict_of_numbers(item)
    foreign = ("numpy", "tensorflow", "keras", "torch", "jax", "pandas", "grain", "random", "builtins")
    plain = not isinstance(item, type | types.ModuleType | types.FunctionType | types.MethodType)
    return plain and hasattr(item, "__dict__") and type(item).__module__.split(".")[0] not in foreign


def _holds_objects(items: Any) -> bool:
    """Random generators, or a list of transformations, say. Dicts in a list are records."""
    few = len(items) <= _MOST_ENTERED
    return few and any(isinstance(i, GENERATORS) or (not isinstance(i, dict) and _is_entered(i)) for i in items)

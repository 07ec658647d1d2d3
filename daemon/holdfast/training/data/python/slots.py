"""The places in an object of the script's whose values may change: its attributes, those of what it holds, and what its
functions refer to.
"""

from __future__ import annotations

import functools
import io
import random
import types
from argparse import Namespace
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...session.random_state import is_generator
from ..keras_in_use import keras
from .references import (
    class_attributes,
    is_own,
    is_own_function,
    is_scripts,
    own_functions,
    references_of,
    slots_of,
    top,
)

NUMBERS = (bool, int, float, np.number, np.bool_)
_VALUES = (*NUMBERS, str, type(None), np.ndarray, list, tuple, set, deque)
_ITEMS = (dict, list, tuple)
_OF_VALUES = {
    *("builtins", "collections", "datetime", "decimal", "fractions", "array", "functools", "random"),
    *("numpy", "tensorflow", "keras", "torch", "jax", "jaxlib", "pandas", "grain"),
}
_OF_KERAS = {"_workers", "_use_multiprocessing", "_max_queue_size"}
_DEEPEST = 4
_MOST_HOLDERS = 100_000
_MOST_FUNCTIONS = 1000  # the nearest ones
_MOST_ENTERED = 100  # items of a list that holds objects
MOST_SLOTS = 1000


class ValueSlot(NamedTuple):
    """An attribute, an item or a variable, by the path that leads there.

    ``shared``: a function refers to it that may not be the only one, so others may be what changes it.
    """

    path: str
    holder: Any
    key: Any
    shared: bool = False

    def get(self) -> Any:
        """None once it is no longer there."""
        if isinstance(self.holder, types.CellType):
            try:
                return self.holder.cell_contents
            except ValueError:
                return None
        if not isinstance(self.holder, _ITEMS):
            inside = getattr(self.holder, "__dict__", {})
            return inside[self.key] if self.key in inside else slots_of(self.holder).get(self.key)
        try:
            return self.holder[self.key]
        except LookupError:
            return None

    def set(self, value: Any) -> None:
        if isinstance(self.holder, types.CellType):
            self.holder.cell_contents = value
        elif isinstance(self.holder, dict):
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
        inside = _inside(self.value)
        keys = [key for key in inside.keys() - self.keys if not is_no_value(inside[key])]
        if isinstance(self.value, dict):
            return [self.path] if keys else []
        return [f"{self.path}.{key}" for key in sorted(keys) if key not in _OF_KERAS]


class Slots:
    """All random generators that ``root`` leads to, ``MOST_SLOTS`` other values, and as many objects that may get more:
    ``cut`` tells whether there are others. ``deep`` is the first object of which nothing but generators is looked at.
    ``iterators``: their paths.
    """

    def __init__(self, root: Any) -> None:
        self.generators: list[ValueSlot] = []
        self.values: list[ValueSlot] = []
        self.holders: list[Holder] = []
        self.cut = False
        self.deep: str | None = None
        self.iterators: list[str] = []
        found: dict[tuple[int, Any], ValueSlot] = {}
        for slot in self._walk(root):
            place = (id(slot.holder), slot.key)
            if place not in found or (found[place].shared and not slot.shared):
                found[place] = slot
        for slot in found.values():
            if _is_generator(slot.get()):
                self.generators.append(slot)
            elif len(self.values) < MOST_SLOTS:
                self.values.append(slot)
            else:
                self.cut = self.cut or not slot.shared

    def _walk(self, root: Any) -> Iterator[ValueSlot]:
        """Each object once, those that are nearer first."""
        seen: set[int] = set()
        functions = 0
        waiting = deque([(type(root).__name__, root, 0, False)])
        while waiting:
            path, value, depth, shared = waiting.popleft()
            if id(value) in seen:
                continue
            if depth > _DEEPEST and not shared:
                shared = True
                self.deep = self.deep or (path if is_scripts(type(value)) else None)
            if len(seen) >= _MOST_HOLDERS:
                self.cut = self.cut or not shared
                return
            seen.add(id(value))
            has_attributes = not isinstance(value, (list, tuple, keras.layers.Layer, *_CODE))
            functions += isinstance(value, types.FunctionType)
            if functions > _MOST_FUNCTIONS:
                continue
            if has_attributes and not shared and len(self.holders) == MOST_SLOTS:
                self.cut = True
            elif has_attributes and not shared:
                self.holders.append(Holder(path, value, frozenset(_inside(value))))
            for slot, item in _leads_to(path, value, shared):
                if _is_generator(item) or (
                    not isinstance(value, list | tuple) and _is_watched(value, item, slot.shared)
                ):
                    yield slot
                if _is_entered(item, slot.shared) or (isinstance(item, list | tuple) and _holds_objects(item)):
                    waiting.append((slot.path, item, depth + 1, slot.shared))
                elif _is_iterator(item):
                    self.iterators.append(slot.path)


_CODE = (types.FunctionType, types.MethodType, types.BuiltinMethodType, functools.partial, type)
_GLOBAL = (np.random.mtrand._rand, random._inst)


def _leads_to(path: str, value: Any, shared: bool) -> Iterator[tuple[ValueSlot, Any]]:
    """The places in ``value``, each with what is there."""
    if isinstance(value, types.FunctionType):
        for one in references_of(value):
            yield ValueSlot(f"{path}:{one.name}", one.holder, one.key, not one.sets), one.value
    elif isinstance(value, types.MethodType | types.BuiltinMethodType):
        yield ValueSlot(path, {0: value.__self__}, 0, shared), value.__self__
        yield ValueSlot(path, {}, 0, shared), getattr(value, "__func__", None)
    elif isinstance(value, functools.partial):
        parts = {"func": value.func, "args": value.args, "keywords": value.keywords}
        yield from ((ValueSlot(f"{path}.{name}", parts, name, shared), part) for name, part in parts.items())
    elif isinstance(value, keras.layers.Layer):
        shared = True  # what else there is in it is Keras' affair
        for number, seed in enumerate(_seeds_of(value)):
            yield ValueSlot(f"{path}.seed_generators[{number}]", {0: seed}, 0, shared), seed
        yield from ((ValueSlot(f"{path}.{key}", value, key, shared), item) for key, item in _inside(value).items())
    elif isinstance(value, _ITEMS):
        yield from ((ValueSlot(f"{path}[{key!r}]", value, key, shared), item) for key, item in _inside(value).items())
    else:
        inside = {} if isinstance(value, type) else _inside(value)
        yield from (
            (ValueSlot(f"{path}.{key}", value, key, shared), inside[key]) for key in inside if key not in _OF_KERAS
        )
        cls = value if isinstance(value, type) else type(value)
        for owner, name, item in class_attributes(cls, inside):
            yield ValueSlot(f"{path}.{name}", owner, name, shared), item
        for name, function in own_functions(cls):
            yield ValueSlot(f"{path}.{name}", {}, 0, True), function


def _seeds_of(layer: Any) -> list[Any]:
    """Of a layer and those in it, in Keras' order."""
    return [seed for one in layer._flatten_layers() for seed in getattr(one, "_seed_generators", ())]


def _is_trained(layer: Any) -> bool:
    """Then its state is the model's."""
    return bool(getattr(layer, "compiled", False) or layer.trainable_variables)


def _inside(holder: Any) -> dict[Any, Any]:
    if isinstance(holder, list | tuple):
        return dict(enumerate(holder))
    return dict(holder) if isinstance(holder, dict) else {**getattr(holder, "__dict__", {}), **slots_of(holder)}


def _is_generator(item: Any) -> bool:
    """But the global ones, which are kept anyhow."""
    return is_generator(item) and all(item is not one for one in _GLOBAL)


def _is_iterator(item: Any) -> bool:
    """One of which nothing else is seen. A file, and a database's cursor, are asked for each item anew."""
    return isinstance(item, Iterator) and not (isinstance(item, io.IOBase) or hasattr(item, "execute"))


def is_no_value(item: Any) -> bool:
    """A file or a connection, say: each start opens its own."""
    cls = type(item)
    if _is_value(item) or is_generator(item) or _is_iterator(item) or is_scripts(cls):
        return False
    return top(cls.__module__) not in _OF_VALUES


def _is_watched(holder: Any, item: Any, shared: bool) -> bool:
    """Of what others may change too, variables that hold an order, say. An empty one is a cache that is filled."""
    if not shared:
        return _is_value(item)
    is_variable = isinstance(holder, types.FunctionType) and isinstance(item, np.ndarray | list | set | deque | dict)
    return is_variable and _is_value(item) and len(item) > 0


def _is_value(item: Any) -> bool:
    return isinstance(item, _VALUES) or _is_dict_of_numbers(item) or hasattr(item, "iloc")


def _is_dict_of_numbers(item: Any) -> bool:
    return isinstance(item, dict) and all(isinstance(value, NUMBERS) for value in item.values())


def _is_entered(item: Any, shared: bool = False) -> bool:
    """A dict, code, or an object with attributes, of the script's or of a package that brings no arrays of its own."""
    if isinstance(item, dict):
        return not (_is_dict_of_numbers(item) or (shared and len(item) > _MOST_ENTERED))
    if isinstance(item, keras.layers.Layer):
        return not _is_trained(item)
    if isinstance(item, types.FunctionType):
        return is_own_function(item)
    if isinstance(item, types.BuiltinMethodType):
        return _is_generator(item.__self__)
    if isinstance(item, types.MethodType | functools.partial):
        return True
    if isinstance(item, type | types.ModuleType):
        return shared and isinstance(item, type) and is_own(item)
    if shared and not (is_own(type(item)) or isinstance(item, Namespace | types.SimpleNamespace)):
        return False
    foreign = ("numpy", "tensorflow", "keras", "torch", "jax", "pandas", "grain", "random", "builtins")
    has_attributes = hasattr(item, "__dict__") or bool(slots_of(item))
    return has_attributes and type(item).__module__.split(".")[0] not in foreign


def _holds_objects(items: Any) -> bool:
    """Random generators, or a list of transformations, say. Dicts in a list are records."""
    few = len(items) <= _MOST_ENTERED
    return few and any(
        _is_generator(i) or _is_iterator(i) or (not isinstance(i, dict) and _is_entered(i)) for i in items
    )

"""The order of the items of a list or an array, as places among all of them sorted.

So what is kept is numbers only, and the items are those of the process that is there: paths may begin otherwise on
another machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from ...pair.plain import from_plain, to_plain

_SAMPLED = 4096
_MOST_BYTES = 16 << 20
_SORTED = "~sorted"
ORDER = "~order"


class ItemOrder(Protocol):
    """Of items as they were when ``fit`` began."""

    def places(self, items: Any) -> dict[str, Any] | None:
        """As plain values; None if they are other items."""

    def items(self, plain: Mapping[str, Any]) -> Any:
        """The counterpart; None if ``plain`` is of other items. Raises ValueError and the like if it is malformed."""


def order_of(value: Any) -> ItemOrder | None:
    """None for what is no order: numbers that repeat, say."""
    if isinstance(value, list):
        return _OrderOfItems(value) if len(value) > 1 else None
    if not isinstance(value, np.ndarray) or value.ndim != 1 or len(value) < 2:
        return None
    if value.dtype.kind in "USO":
        return _OrderOfItems(value)
    if value.dtype.kind in "iu" and value.nbytes <= _MOST_BYTES and len(np.unique(value)) == len(value):
        return _OrderOfIntegers(value)
    return None


class _OrderOfIntegers:
    def __init__(self, integers: np.ndarray) -> None:
        self._sorted = np.sort(integers)

    def places(self, items: Any) -> dict[str, Any] | None:
        if items.shape != self._sorted.shape:
            return None
        places = np.searchsorted(self._sorted, items).clip(max=len(items) - 1)
        return _plain(places, self._sorted) if np.array_equal(self._sorted[places], items) else None

    def items(self, plain: Mapping[str, Any]) -> Any:
        places = _places(plain, self._sorted)
        return None if places is None else self._sorted[places]


class _OrderOfItems:
    """Items that differ by nothing but their identity are ranked as they stand."""

    def __init__(self, items: Iterable[Any]) -> None:
        items = list(items)
        told_apart = not any(isinstance(_key(item), _Identity) for item in items)
        self._sorted = sorted(items, key=repr) if told_apart else items
        self._place = {_key(item): place for place, item in enumerate(self._sorted)}

    def places(self, items: Any) -> dict[str, Any] | None:
        places = [self._place.get(_key(item), -1) for item in items]
        return _plain(places, self._sorted) if len(places) == len(self._sorted) and -1 not in places else None

    def items(self, plain: Mapping[str, Any]) -> Any:
        places = _places(plain, self._sorted)
        return None if places is None else [self._sorted[place] for place in places]


class _Identity(int):
    """An object that is known by which it is."""


def _key(item: Any) -> Any:
    values = str | bytes | int | float | np.generic
    plain = isinstance(item, values) or (isinstance(item, tuple) and all(isinstance(part, values) for part in item))
    return item if plain else _Identity(id(item))


def _plain(places: Any, items: Any) -> dict[str, Any]:
    places = np.asarray(places, "uint32")
    in_order = np.array_equal(places, np.arange(len(places)))
    return {ORDER: _SORTED if in_order else to_plain(places), "of": _digest(items)}


def _places(plain: Mapping[str, Any], items: Any) -> np.ndarray | None:
    if plain["of"] != _digest(items):
        return None
    if plain[ORDER] == _SORTED:
        return np.arange(len(items))
    places: np.ndarray = from_plain(plain[ORDER])
    if len(places) != len(items) or places.max() >= len(items):
        raise ValueError("not the places of these items")
    return places


def _digest(items: Any) -> int:
    """Of the number of items, and of the ends of some."""
    some = items[:: max(1, len(items) // _SAMPLED)]
    ends = ["" if isinstance(_key(item), _Identity) else repr(item).rpartition("/")[2] for item in some]
    return zlib.crc32(repr([len(items), *ends]).encode())

"""Whether a value still holds the very same items: what a text or a number says is not looked at.

The items are held, as another one may come to lie where one was that is gone.
"""

from __future__ import annotations

import operator
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

import numpy as np

CONTAINERS = (dict, list, tuple, set, frozenset, deque)
MOST_NESTED = 1_000_000
_DEEPEST = 100
_ATOMS = {type(None), bool, int, float, complex, str, bytes}
NUMBERS = (bool, int, float, complex, str, bytes, np.generic, Decimal, date, timedelta)
_EQUAL = (type(None), bool, int, str, bytes)  # two that are equal are alike in all


class Same:
    """Of the very same items."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def __eq__(self, other: object) -> bool:
        theirs = other._items if isinstance(other, Same) else None
        return theirs is not None and len(theirs) == len(self._items) and all(map(operator.is_, self._items, theirs))

    __hash__ = None  # type: ignore[assignment]

    def others(self, other: Same) -> Iterator[tuple[Any, Any]]:
        """Each two that are not the same, of as many items."""
        return ((mine, theirs) for mine, theirs in zip(self._items, other._items, strict=True) if mine is not theirs)


class One:
    """An object, known as long as it lives; held only if it cannot be referred to weakly."""

    def __init__(self, item: Any) -> None:
        try:
            self._get: Callable[[], Any] = weakref.ref(item)
        except TypeError:
            self._get = lambda: item

    def is_(self, item: Any) -> bool:
        return self._get() is item

    def __eq__(self, other: object) -> bool:
        return isinstance(other, One) and (item := self._get()) is not None and other.is_(item)

    __hash__ = None  # type: ignore[assignment]


class AllItems:
    """Of a container, and of the containers in it: all their items. Other objects are what they are, but for the kinds
    of which ``changes`` is true: ``state_of`` tells whether it has looked at them as a whole, and gives a mark of them.

    The outermost one is looked at however long it is; those in it, level by level, up to ``MOST_NESTED`` items. Raises
    RecursionError for one that holds itself.
    """

    def __init__(
        self, value: Any, changes: Callable[[Any], bool], state_of: Callable[[list[Any]], tuple[bool, Any]]
    ) -> None:
        self._kind = type(value)
        self._lengths: list[list[int]] = []
        items: list[Any] = []
        changing: list[Any] = []
        holders = [value]
        while holders:
            level = list(chain.from_iterable(_inside(holders)))
            if self._lengths and len(items) + len(level) > MOST_NESTED:
                break
            if len(self._lengths) > _DEEPEST:
                raise RecursionError
            self._lengths.append(list(map(len, holders)))
            items += level
            kinds = set(map(type, level)) - _ATOMS
            samples = {type(item): item for item in level} if kinds else {}
            containers = {kind for kind in kinds if issubclass(kind, CONTAINERS)}
            altering = {kind for kind in kinds - containers if changes(samples[kind])}
            holders = [item for item in level if type(item) in containers] if containers else []
            if altering:
                changing += [item for item in level if type(item) in altering]
        self._whole = not holders
        self._state: tuple[bool, Any] = state_of(changing) if changing else (True, None)
        self._changing = set(map(type, changing))
        self._same = Same(items)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AllItems) or (self._kind, self._lengths) != (other._kind, other._lengths):
            return False
        if self._state != other._state:
            return False
        return self._same == other._same or self._is_like(other)

    __hash__ = None  # type: ignore[assignment]

    def _is_like(self, other: AllItems) -> bool:
        """Made anew, of the same values."""
        if issubclass(self._kind, set | frozenset) and len(self._lengths) == 1:
            mine, theirs = (sorted(map(repr, one._same._items)) for one in (self, other))
            return mine == theirs
        return all(self._are_alike(mine, theirs) for mine, theirs in self._same.others(other._same))

    def _are_alike(self, mine: Any, theirs: Any) -> bool:
        kind = type(mine)
        if kind is not type(theirs):
            return False
        if kind in _EQUAL:
            return bool(mine == theirs)
        if issubclass(kind, CONTAINERS):
            return self._whole  # what is in them is compared by itself
        if kind in self._changing:
            return self._state[0]
        return issubclass(kind, NUMBERS) and repr(mine) == repr(theirs)


def _inside(holders: list[Any]) -> Iterable[Iterable[Any]]:
    """The items of each, copied at once where another thread may change them meanwhile."""
    if all(map(_ORDERED.__contains__, map(type, holders))):
        return holders
    return ([*one, *one.values()] if isinstance(one, dict) else list(one) for one in holders)


_ORDERED = {list, tuple}

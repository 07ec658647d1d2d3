"""Python's own values that a pickle of plain ones lacks: each is written as a dict with one marked key, ``~set``, say.

A dict of the script's that looks like one is written as ``~dict``. A member of an Enum is written by its names. It is
read back only from a class that is loaded already: what a file says imports nothing, and makes no value.
"""

from __future__ import annotations

import enum
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from types import ModuleType
from typing import Any

import numpy as np

from ...core.errors import InvalidPair, one_line
from ...core.restricted_pickle import MAX_OF_ONE_HASH

FACTORIES: tuple[Any, ...] = (None, int, float, list, dict, set, bool, str, bytes)
_MOST = "~most"
_OF_PAIRS = ("~dict", "~ordered", "~counter", "~default")
_KEYS = (str, bytes, int, float, bool, type(None), np.generic, Decimal, date, timedelta, enum.Enum)
_Change = Callable[[Any], Any]


class NoSuchMember(InvalidPair):
    """The checkpoint names a member of an Enum that this script does not have."""


class NoSuchFactory(TypeError):
    """A defaultdict that could not be made anew; its items may be kept all the same."""


class Marked(dict[str, Any]):
    """A dict that stands for another value."""


KINDS: tuple[type, ...] = (Counter, OrderedDict, defaultdict, deque, set, frozenset, Decimal, datetime, date, timedelta)


def is_marked(value: Mapping[Any, Any]) -> bool:
    """Would it be read as something else?"""
    keys = list(value)
    return (len(keys) == 1 and isinstance(keys[0], str) and keys[0].startswith("~")) or set(keys) == {"~deque", _MOST}


def pairs_of(value: Mapping[Any, Any], plain: _Change) -> list[list[Any]]:
    return [[plain(key), plain(item)] for key, item in zip(_keys(value), value.values(), strict=True)]


def has_members(keys: Iterable[Any]) -> bool:
    return any(isinstance(one, enum.Enum) for key in keys for one in (key if type(key) is tuple else (key,)))


def encoded_member(value: enum.Enum) -> dict[str, Any]:
    """Raises TypeError for one that could not be found again."""
    kind = type(value)
    if value.name not in kind.__members__:
        raise TypeError("a combination of flags")
    if _enum_of(kind.__module__, kind.__qualname__) is not kind:
        raise TypeError(f"a {kind.__name__}, and that class is in no module by its name")
    return {"~member": [kind.__module__, kind.__qualname__, value.name]}


def encoded(value: Any, plain: _Change) -> dict[str, Any]:
    """Of one of KINDS itself; what is in it becomes ``plain``. Raises TypeError for what cannot be kept."""
    match value:
        case Counter():
            return {"~counter": pairs_of(value, plain)}
        case OrderedDict():
            return {"~ordered": pairs_of(value, plain)}
        case defaultdict():
            number = next((n for n, one in enumerate(FACTORIES) if one is value.default_factory), None)
            if number is None:
                raise NoSuchFactory("a defaultdict with a factory of its own")
            return {"~default": [number, pairs_of(value, plain)]}
        case deque():
            items = list(map(plain, value))
            return {"~deque": items} if value.maxlen is None else {"~deque": items, _MOST: value.maxlen}
        case set() | frozenset():
            return {f"~{type(value).__name__}": list(map(plain, sorted(_keys(value), key=repr)))}
        case Decimal():
            sign, digits, exponent = value.as_tuple()
            if not isinstance(exponent, int):
                raise TypeError("a Decimal that is no number")
            return {"~decimal": [sign, list(digits), exponent]}
        case timedelta():
            return {"~timedelta": [value.days, value.seconds, value.microseconds]}
        case datetime():
            if not isinstance(value.tzinfo, timezone | None):
                raise TypeError("a datetime with a zone of its own")
            numbers = [*value.timetuple()[:6], value.microsecond, value.fold]
            away = value.utcoffset()
            return {"~datetime": [numbers, None if away is None else plain(away)]}
        case _:
            return {"~date": [value.year, value.month, value.day]}


def decoded(value: Mapping[str, Any], made: _Change) -> Any:
    """What ``encoded`` was given. Raises LookupError for any other dict, and InvalidPair for a malformed one."""
    kind = "~deque" if _MOST in value else next(iter(value), "")
    if not is_marked(value) or kind not in _DECODERS:
        raise LookupError(kind)
    try:
        if _MOST in value:
            return deque(map(made, value[kind]), value[_MOST])
        return _DECODERS[kind](value[kind], made)
    except (TypeError, ValueError, IndexError, OverflowError, ArithmeticError) as error:
        raise InvalidPair(f"the .pkl's {kind} is malformed: {error}") from None


def values_in(value: Mapping[str, Any]) -> Iterator[Any]:
    """What is in such a dict besides keys, which may be texts."""
    for kind, item in value.items():
        pairs = item[1] if kind == "~default" and isinstance(item, list) and len(item) == 2 else item
        if kind in _OF_PAIRS and isinstance(pairs, list):
            yield from (pair[1:] if isinstance(pair, list) else pair for pair in pairs)
        else:
            yield item


def _dict(items: Any, made: _Change) -> dict[Any, Any]:
    pairs = [(made(key), made(item)) for key, item in items]
    return dict(zip(_keys(key for key, _ in pairs), (item for _, item in pairs), strict=True))


def _keys(items: Iterable[Any]) -> list[Any]:
    """Raises TypeError for what nobody should hash, and ValueError for so many of one hash that it would take for ever
    (core/restricted_pickle.py).
    """
    found = list(items)
    for key in found:
        if not all(isinstance(one, _KEYS) for one in (key if type(key) is tuple else (key,))):
            raise TypeError(f"a key of type {type(key).__name__}")
    if max(Counter(map(hash, found)).values(), default=0) > MAX_OF_ONE_HASH:
        raise ValueError("too many keys of one hash")
    return found


def _default(item: Any, made: _Change) -> Any:
    number, items = item
    if type(number) is not int or not 0 <= number < len(FACTORIES):
        raise ValueError("no such factory")
    return defaultdict(FACTORIES[number], _dict(items, made))


def _member(item: Any, made: _Change) -> Any:
    module, path, name = item
    if not all(type(one) is str for one in item):
        raise TypeError("no names")
    kind = _enum_of(module, path)
    if kind is None or name not in kind.__members__:
        shown = one_line(f"{path}.{name}")[:200]
        raise NoSuchMember(f"the checkpoint holds {shown}, and this script has no such member of an Enum")
    return kind.__members__[name]


def _enum_of(module: str, path: str) -> type[enum.Enum] | None:
    """Nothing of the script's runs: a lazy module would import, and a ``__getattr__`` might do anything."""
    found: Any = sys.modules.get(module)
    if not issubclass(type(found), ModuleType):
        return None
    names = object.__getattribute__(found, "__dict__")
    for name in path.split("."):
        found = names.get(name)
        if not issubclass(type(found), type):
            return None
        names = type.__getattribute__(found, "__dict__")
    own = isinstance(found, enum.EnumMeta) and (found.__module__, found.__qualname__) == (module, path)
    return found if own else None


def _decimal(item: Any, made: _Change) -> Any:
    sign, digits, exponent = item
    if not all(type(one) is int for one in (sign, exponent, *digits)):
        raise TypeError("no numbers")
    return Decimal((sign, tuple(digits), exponent))


def _datetime(item: Any, made: _Change) -> Any:
    (*numbers, fold), away = item
    zone = None if away is None else timezone(made(away))
    return datetime(*numbers).replace(fold=fold, tzinfo=zone)


_DECODERS: dict[str, Callable[[Any, _Change], Any]] = {
    "~dict": _dict,
    "~ordered": lambda item, made: OrderedDict(_dict(item, made)),
    "~counter": lambda item, made: Counter(_dict(item, made)),
    "~default": _default,
    "~deque": lambda item, made: deque(map(made, item)),
    "~set": lambda item, made: set(_keys(map(made, item))),
    "~frozenset": lambda item, made: frozenset(_keys(map(made, item))),
    "~member": _member,
    "~decimal": _decimal,
    "~datetime": _datetime,
    "~date": lambda item, made: date(*item),
    "~timedelta": lambda item, made: timedelta(*item),
}

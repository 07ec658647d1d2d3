"""The ``.pkl``: a pickle of plain built-in values, and a reader that accepts nothing else.

A pickle is a program. This reader runs it with every class and function refused, so the program can only build
values; then it checks each value's exact type. What it refuses raises InvalidPair and has executed nothing.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, NoReturn

from .errors import InvalidPair

PROTOCOL = 4
MAX_DEPTH = 64
MAX_VALUES = 5_000_000
_SCALARS = (str, bytes, int, float, bool, type(None))


def dumps(value: Any) -> bytes:
    """Raises TypeError if ``value`` holds anything but dict, list, tuple, str, bytes, int, float, bool and None."""
    _check(value, TypeError)
    return pickle.dumps(value, protocol=PROTOCOL)


def loads(data: bytes) -> Any:
    """Raises InvalidPair if ``data`` is not a whole pickle of plain values."""
    stream = io.BytesIO(data)
    try:
        value = _PlainUnpickler(stream).load()
    except InvalidPair:
        raise
    except Exception as error:  # pickle raises nearly anything on damaged input
        raise InvalidPair(f"the .pkl is damaged: {type(error).__name__}: {error}") from None
    if stream.read(1):
        raise InvalidPair("the .pkl has bytes after its end")
    _check(value, InvalidPair)
    return value


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise InvalidPair(f"the .pkl asks for {module}.{name}: it is refused, as it would run code")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise InvalidPair("the .pkl refers to something outside of it")


def _check(root: Any, error: type[Exception]) -> None:
    """Walks without recursion, and each container once: shared references cannot multiply the work."""
    seen: set[int] = set()
    stack: list[tuple[Any, int]] = [(root, 0)]
    count = 0
    while stack:
        value, depth = stack.pop()
        count += 1
        if depth > MAX_DEPTH:
            raise error(f"values nested deeper than {MAX_DEPTH} are refused")
        if count > MAX_VALUES:
            raise error(f"more than {MAX_VALUES} values are refused")
        if type(value) in _SCALARS:
            continue
        if type(value) not in (dict, list, tuple):
            raise error(f"a value of type {type(value).__name__} is not plain")
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) is dict:
            stack.extend((key, depth + 1) for key in value)
            stack.extend((item, depth + 1) for item in value.values())
        else:
            stack.extend((item, depth + 1) for item in value)

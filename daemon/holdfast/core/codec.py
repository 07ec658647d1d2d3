"""The ``.pkl``: a pickle of plain built-in values, and a reader that accepts nothing else.

A pickle is a program. This reader does not run it on Python's unpickler, which would look up classes in the extension
registry, allot memory by numbers in the file, and hash whatever it is given. It knows the few instructions that build
plain values, and refuses all others; then it checks the values. What it refuses raises InvalidPair and has executed
nothing.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any

from .errors import InvalidPair

PROTOCOL = 4
MAX_DEPTH = 64
MAX_VALUES = 5_000_000
_SCALARS = (str, bytes, int, float, bool, type(None))
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT")
_BYTES = ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8")
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_LITERALS = frozenset((*_NUMBERS, *_BYTES, *_TEXTS))


def dumps(value: Any) -> bytes:
    """Raises TypeError if ``value`` holds anything but dict, list, tuple, str, bytes, int, float, bool and None.

    A key of a dict is none of the first two, nor a tuple of them.
    """
    _check(value, TypeError)
    return pickle.dumps(value, protocol=PROTOCOL)


def loads(data: bytes) -> Any:
    """Raises InvalidPair if ``data`` is not a whole pickle of plain values."""
    stream = io.BytesIO(data)
    try:
        value = _read(stream)
    except InvalidPair:
        raise
    except Exception as error:  # damaged input can raise nearly anything
        raise InvalidPair(f"the .pkl is damaged: {type(error).__name__}: {error}") from None
    if stream.read(1):
        raise InvalidPair("the .pkl has bytes after its end")
    _check(value, InvalidPair)
    return value


def _read(stream: io.BytesIO) -> Any:
    stack: list[Any] = []
    marks: list[int] = []
    memo: list[Any] = []
    argument: Any

    def above_mark() -> list[Any]:
        return take(len(stack) - marks.pop())

    def take(count: int) -> list[Any]:
        if not 0 <= count <= len(stack):
            raise InvalidPair("the .pkl is damaged: it takes more values than it made")
        start = len(stack) - count
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case literal if literal in _LITERALS:
                stack.append(argument)
            case constant if constant in _CONSTANTS:
                stack.append(_CONSTANTS[constant])
            case "MARK":
                marks.append(len(stack))
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(above_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(take(int(opcode.name[-1]))))
            case "APPEND":
                item = stack.pop()
                list.append(stack[-1], item)
            case "APPENDS":
                items = above_mark()
                list.extend(stack[-1], items)
            case "SETITEM":
                items = take(2)
                _set_items(items, stack[-1])
            case "SETITEMS":
                items = above_mark()
                _set_items(items, stack[-1])
            case "MEMOIZE":
                memo.append(stack[-1])
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case _:
                raise InvalidPair(f"the .pkl uses {opcode.name}, which no plain value needs: it is refused")
    if len(stack) != 1:
        raise InvalidPair("the .pkl is damaged: it does not end with one value")
    return stack[0]


def _set_items(items: list[Any], into: dict[Any, Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        _check_key(key, InvalidPair)
        dict.__setitem__(into, key, value)


def _check_key(key: Any, error: type[Exception]) -> None:
    """Before anything hashes it: the hash of a deep or widely shared tuple crashes Python, or takes for ever."""
    if type(key) not in _SCALARS and not (type(key) is tuple and all(type(item) in _SCALARS for item in key)):
        raise error(f"a key of type {type(key).__name__} is not plain")


def _check(root: Any, error: type[Exception]) -> None:
    """Looks into each container once, without recursion, but counts shared ones as often as a reader meets them."""
    known: dict[int, tuple[int, int] | None] = {}  # values and depth; None while the walk is inside
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        value, leaving = stack.pop()
        if leaving:
            known[id(value)] = _measure(value, known, error)
        elif type(value) in _SCALARS:
            continue
        elif type(value) not in (dict, list, tuple):
            raise error(f"a value of type {type(value).__name__} is not plain")
        elif id(value) not in known:
            known[id(value)] = None
            stack.append((value, True))
            stack.extend((item, False) for item in _items(value))
        elif known[id(value)] is None:
            raise error("a value that holds itself is refused")
        if type(value) is dict and not leaving:
            for key in value:
                _check_key(key, error)


def _measure(value: Any, known: dict[int, tuple[int, int] | None], error: type[Exception]) -> tuple[int, int]:
    inside = [known.get(id(item)) or (1, 0) for item in _items(value)]
    keys = len(value) if type(value) is dict else 0
    count = 1 + keys + sum(values for values, _ in inside)
    depth = 1 + max((depth for _, depth in inside), default=0)
    if depth > MAX_DEPTH:
        raise error(f"values nested deeper than {MAX_DEPTH} are refused")
    if count > MAX_VALUES:
        raise error(f"more than {MAX_VALUES} values are refused")
    return count, depth


def _items(value: Any) -> Any:
    return value.values() if type(value) is dict else value

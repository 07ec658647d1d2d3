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
from collections import Counter
from typing import Any

from .errors import InvalidPair

PROTOCOL = 4
MAX_DEPTH = 64
MAX_VALUES = 5_000_000
MAX_REPEATED = 1 << 28
MAX_INSTRUCTIONS = 3 * MAX_VALUES  # a dict of texts takes 2.4 for each value, which is the most
_LONG = 64
MAX_OF_ONE_HASH = 64
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
    check(value, TypeError)
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
    check(value, InvalidPair)
    return value


def _read(stream: io.BytesIO) -> Any:
    stack: list[Any] = []
    marks: list[int] = []
    memo: list[Any] = []
    crowds: Counter[tuple[int, int]] = Counter()
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

    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if number > MAX_INSTRUCTIONS:
            raise InvalidPair(f"the .pkl has more than {MAX_INSTRUCTIONS} instructions: it is refused")
        match opcode.name:
            case "PROTO" | "STOP":
                pass
            case "FRAME":
                if argument > stream.getbuffer().nbytes - stream.tell():
                    raise InvalidPair("the .pkl is damaged: it ends within a frame")
            case literal if literal in _LITERALS:
                stack.append(argument)
            case constant if constant in _CONSTANTS:
                stack.append(_CONSTANTS[constant])
            case "MARK":
                marks.append(len(stack))
                _check_depth(len(marks), InvalidPair)
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
                _set_items(items, stack[-1], crowds)
            case "SETITEMS":
                items = above_mark()
                _set_items(items, stack[-1], crowds)
            case "MEMOIZE":
                if memo and memo[-1] is stack[-1]:
                    raise InvalidPair("the .pkl is damaged: it notes a value twice")
                memo.append(stack[-1])
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case _:
                raise InvalidPair(f"the .pkl uses {opcode.name}, which no plain value needs: it is refused")
    if len(stack) != 1:
        raise InvalidPair("the .pkl is damaged: it does not end with one value")
    return stack[0]


def _set_items(items: list[Any], into: dict[Any, Any], crowds: Counter[tuple[int, int]]) -> None:
    """``crowds`` counts a dict's keys of one hash: texts are hashed with a secret, but a file may choose numbers that
    all have the same, and the time to insert them grows with the square of their count.
    """
    for key, value in zip(items[::2], items[1::2], strict=True):
        _check_key(key, InvalidPair)
        if type(key) not in (str, bytes):
            crowd = (id(into), hash(key))
            crowds[crowd] += 1
            if crowds[crowd] > MAX_OF_ONE_HASH:
                raise InvalidPair("the .pkl has a dict whose keys were chosen to collide: it is refused")
        dict.__setitem__(into, key, value)


def _check_key(key: Any, error: type[Exception]) -> None:
    """Before anything hashes it: the hash of a deep or widely shared tuple crashes Python, or takes for ever."""
    if type(key) not in _SCALARS and not (type(key) is tuple and all(type(item) in _SCALARS for item in key)):
        raise error(f"a key of type {type(key).__name__} is not plain")


def check(root: Any, error: type[Exception]) -> None:
    """Looks into each container once, without recursion, but counts shared ones as often as a reader meets them."""
    known: dict[int, _Measure | None] = {}  # None while the walk is inside
    once: dict[int, int] = {}  # the bytes of each long text
    stack: list[tuple[Any, bool]] = [(root, False)]
    while stack:
        value, leaving = stack.pop()
        if leaving:
            known[id(value)] = _measure(value, known, error)
        elif type(value) in _SCALARS:
            if length := _length(value):
                once[id(value)] = length
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
                if length := _length(key):
                    once[id(key)] = length
    whole = known.get(id(root))
    if whole is not None and whole[2] - sum(once.values()) > MAX_REPEATED:
        raise error(f"texts and bytes that are repeated to more than {MAX_REPEATED} bytes are refused")


_Measure = tuple[int, int, int]  # of a container and all in it: values, depth, and the bytes of long texts


def _measure(value: Any, known: dict[int, _Measure | None], error: type[Exception]) -> _Measure:
    inside = [known.get(id(item)) or (1, 0, _length(item)) for item in _items(value)]
    keys = tuple(value) if type(value) is dict else ()
    count = 1 + len(keys) + sum(values for values, _, _ in inside)
    depth = 1 + max((depth for _, depth, _ in inside), default=0)
    length = sum(length for _, _, length in inside) + sum(map(_length, keys))
    _check_depth(depth, error)
    if count > MAX_VALUES:
        raise error(f"more than {MAX_VALUES} values are refused")
    return count, depth, length


def _check_depth(depth: int, error: type[Exception]) -> None:
    if depth > MAX_DEPTH:
        raise error(f"values nested deeper than {MAX_DEPTH} are refused")


def _length(value: Any) -> int:
    """Bytes of a text that is long enough to matter."""
    return len(value) if type(value) in (str, bytes) and len(value) > _LONG else 0


def _items(value: Any) -> Any:
    return value.values() if type(value) is dict else value

"""Values of NumPy, TensorFlow, JAX and PyTorch as plain built-in ones, for the ``.pkl``, and back."""

from __future__ import annotations

import contextlib
import enum
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import restricted_pickle
from ...core.errors import InvalidPair
from . import marked
from .h5_writer import WIDER

_ARRAY, _NUMBER = "~array", "~number"
_NUMBERS = "fiub"
_DTYPE = re.compile(r"[<>=|]?[A-Za-z][A-Za-z0-9_]{0,20}(\[\w{1,8}\])?")


def to_plain(value: Any, typed: bool = False, members: bool = False, say: Callable[[str], None] | None = None) -> Any:
    """Raises TypeError for what cannot be kept as plain values. ``typed``: NumPy's numbers stay what they are, as they
    are not rounded like Python's, and so do sets, Counters and the like. Else what is plain already stays as it is.
    ``members``: those of an Enum stay what they are, too; only a script that has the Enum can read them. ``say``: a
    defaultdict that could not be made anew becomes a dict, and a line tells.
    """
    if members and isinstance(value, enum.Enum):
        return marked.encoded_member(value)
    if typed and isinstance(value, np.generic) and value.dtype.kind in _NUMBERS:
        return {_NUMBER: pack(np.asarray(value))[_ARRAY]}
    if value is None or type(value) in (str, bytes, int, float, bool):
        return value
    if isinstance(value, bool | int | float | str):
        return _base(value)
    if isinstance(value, np.generic):
        return value.item() if value.dtype.kind in "fiubU" else pack(np.asarray(value))
    if isinstance(value, np.ndarray):
        return pack(value)
    if isinstance(value, marked.Marked):
        return {key: to_plain(item) for key, item in value.items()}
    if typed and type(value) in marked.KINDS:
        try:
            return marked.encoded(value, lambda item: to_plain(item, typed, members, say))
        except marked.NoSuchFactory as error:
            if say is None or not isinstance(value, dict):
                raise
            plain = to_plain(dict(value), typed, members, say)
            say(f"{error} comes back as a dict")
            return plain
    if isinstance(value, dict):
        if (typed and marked.is_marked(value)) or (members and marked.has_members(value)):
            return {"~dict": marked.pairs_of(value, lambda item: to_plain(item, typed, members, say))}
        return {_key(key): to_plain(item, typed, members, say) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        raise TypeError(f"a named tuple ({type(value).__name__})")
    if isinstance(value, list | tuple):
        kind = type(value) if type(value) in (list, tuple) else list
        return kind(to_plain(item, typed, members, say) for item in value)
    if type(value).__module__.split(".")[0] == "torch" and hasattr(value, "detach"):
        return to_plain(value.detach().cpu().numpy())
    if hasattr(value, "numpy"):
        return to_plain(value.numpy())
    if type(value).__module__.startswith("jaxlib.") and hasattr(value, "dtype"):
        return pack(np.asarray(value))
    raise TypeError(f"a value of type {type(value).__name__}")


def to_plain_part(
    value: Any, typed: bool = True, members: bool = False, say: Callable[[str], None] | None = None
) -> Any:
    """The same, for values of other code: TypeError also for what no ``.pkl`` takes, and for what holds itself."""
    try:
        plain = to_plain(value, typed, members, say)
    except RecursionError:
        raise TypeError("values that are nested too deep, or hold themselves") from None
    restricted_pickle.check([[[plain]]], TypeError)  # where it stands in a pair
    return plain


def from_plain(value: Any) -> Any:
    """The counterpart of ``to_plain``: arrays become NumPy arrays. Raises InvalidPair for what is malformed."""
    if type(value) is dict:
        if set(value) == {_ARRAY}:
            return unpack(value)
        if set(value) == {_NUMBER}:
            return _number(value[_NUMBER])
        with contextlib.suppress(LookupError):
            return marked.decoded(value, from_plain)
        return {key: from_plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(from_plain(item) for item in value)
    return value


def pack(array: np.ndarray) -> dict[str, Any]:
    """An array as dtype name, shape and little-endian bytes. Raises TypeError as ``name_of`` does."""
    name = name_of(array.dtype)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {_ARRAY: [name, list(array.shape), np.ascontiguousarray(little).tobytes()]}


def name_of(dtype: np.dtype[Any]) -> str:
    """Raises TypeError for a type that ``unpack`` would not know by its name: objects, records, bytes of no type."""
    if dtype.hasobject or dtype.names is not None:
        raise TypeError("an array of Python objects or records")
    little = dtype.newbyteorder("<")
    name = little.str if little.kind in "USmM" else little.name  # texts and times have a size or unit
    try:
        known = _dtype(name) == little
    except (AttributeError, ImportError):
        known = False
    if not known:
        raise TypeError(f"an array of type {dtype}")
    return name


def unpack(value: Any) -> np.ndarray:
    """Raises InvalidPair unless ``value`` is what ``pack`` made."""
    try:
        name, shape, data = value[_ARRAY]
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError("not a shape")
        array = np.frombuffer(data, _dtype(name)).reshape(shape)
        if array.dtype.kind == "U" and array.size and array.view("uint32").max() > sys.maxunicode:
            raise ValueError("a text holds what is no character")
        return array.copy()
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise InvalidPair(f"the .pkl holds a malformed array: {error}") from None


def _number(packed: Any) -> Any:
    array = unpack({_ARRAY: packed})
    if array.shape != () or array.dtype.kind not in _NUMBERS:
        raise InvalidPair("the .pkl holds a malformed number")
    return array[()]


def narrow_type(name: Any) -> np.dtype[Any]:
    """A type that HDF5 lacks, by its name. Raises TypeError for any other."""
    if name not in WIDER:
        raise TypeError("an array has an unexpected type")
    return _dtype(name)


def _dtype(name: Any) -> np.dtype[Any]:
    if not isinstance(name, str) or _DTYPE.fullmatch(name) is None:
        raise TypeError("an array's type is not a name")
    try:
        found: np.dtype[Any] = np.dtype(name)
    except TypeError:
        import ml_dtypes  # bfloat16 and the eight-bit floats: TensorFlow brings it along

        found = np.dtype(getattr(ml_dtypes, name))
    if found.hasobject:
        raise TypeError("an array of Python objects")
    return found


def _base(value: Any) -> Any:
    """A subclass of a built-in as the built-in itself (an IntEnum, say)."""
    base: type[Any]
    for base in (bool, int, float, str):
        if isinstance(value, base):
            return base(value)
    return value


def _key(key: Any) -> Any:
    plain = to_plain(key)
    if not isinstance(plain, str | int | float | bool | bytes | tuple | type(None)):
        raise TypeError(f"a key of type {type(key).__name__}")
    return plain

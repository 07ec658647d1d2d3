"""The CRC-32 of a whole from those of its parts: parts are read side by side, and none is read twice for it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_POLYNOMIAL = 0xEDB88320  # as zlib has it: the highest power of x is the lowest bit
_ONE, _X8 = 1 << 31, 1 << 23


def whole(parts: Iterable[tuple[int, int]]) -> int:
    """``parts`` are CRC-32 and size in bytes, in their order.

    A CRC is a remainder of polynomials: what follows multiplies it by x to the power of its bits, and adds its own.
    """
    crc32 = 0
    for of_part, size in parts:
        crc32 = _product(crc32, _power(size)) ^ of_part
    return crc32


@lru_cache(maxsize=2)  # all parts but the last have one size
def _power(size: int) -> int:
    """x to the power of so many bytes."""
    found, square = _ONE, _X8
    while size:
        if size & 1:
            found = _product(found, square)
        square, size = _product(square, square), size >> 1
    return found


def _product(one: int, other: int) -> int:
    found = 0
    while one:
        if one & _ONE:
            found ^= other
        one = one << 1 & 0xFFFFFFFF
        other = other >> 1 ^ (_POLYNOMIAL if other & 1 else 0)
    return found

"""The arrays of an ``.h5``: where each one stands in the file, and reading it from there.

The ``.h5`` is HDF5 so that other programs can open it. holdfast itself reads it back without that library, which is not
made for files that somebody else chose: the writer notes each array's offset in the ``.pkl``, and the reader takes the
bytes from there. Files whose ``.pkl`` has no offsets are asked for them in a process apart (``locate.py``).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import InvalidPair

LONGEST_SEARCH = 60.0  # seconds
_MOST = 1 << 56
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Piece:
    """An array in one piece of a file, from ``offset`` on. Raises InvalidPair for one that cannot be."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, offset: Any, dtype: Any, shape: Any) -> Piece:
        if not isinstance(shape, list) or len(shape) > 32 or not all(_is_count(n) for n in [offset, *shape]):
            raise InvalidPair("the place of an array in the .h5 is malformed")
        if math.prod(max(n, 1) for n in shape) >= _MOST:
            raise InvalidPair("the shape of an array in the .h5 is not credible")
        if not isinstance(dtype, str) or len(dtype) > 8:
            raise InvalidPair("the type of an array in the .h5 is malformed")
        try:
            found = np.dtype(dtype)
        except TypeError:
            raise InvalidPair(f"the type {dtype!r} of an array in the .h5 is not known") from None
        if found.kind not in "fiub":
            raise InvalidPair(f"the type {dtype!r} of an array in the .h5 is not a number's")
        return cls(offset, found, tuple(shape))

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def plain(self) -> list[Any]:
        return [self.offset, self.dtype.str, list(self.shape)]


def locate(path: Path, names: Iterable[str]) -> dict[str, Piece]:
    """Where the arrays of anybody's file stand. Raises InvalidPair if it is damaged, or not as Keras writes it."""
    wanted = sorted(set(names))
    program = [sys.executable, "-P", str(Path(__file__).with_name("locate.py")), str(path.absolute())]
    try:
        told = subprocess.run(
            program, input=json.dumps(wanted).encode(), capture_output=True, timeout=LONGEST_SEARCH, check=False
        )
    except subprocess.TimeoutExpired:
        raise InvalidPair(f"{path.name} keeps the HDF5 library busy without end") from None
    if told.returncode < 0:
        raise InvalidPair(f"{path.name} makes the HDF5 library fail (signal {-told.returncode})")
    if told.returncode:
        raise InvalidPair(f"{path.name} is damaged: {_last_line(told.stderr)}")
    return {name: Piece.of(*place) for name, place in json.loads(told.stdout).items()}


def read(path: Path, pieces: Mapping[str, Piece]) -> dict[str, np.ndarray]:
    """Raises InvalidPair, with nothing read, if the arrays are more than the file holds."""
    try:
        with path.open("rb", buffering=0) as file:
            length = os.fstat(file.fileno()).st_size
            if file.read(len(_SIGNATURE)) != _SIGNATURE:
                raise InvalidPair(f"{path.name} is not an HDF5 file")
            outside = next((name for name, piece in pieces.items() if piece.offset + piece.size > length), None)
            if outside is not None:
                raise InvalidPair(f"{path.name} ends before its array {outside}")
            if sum(piece.size for piece in pieces.values()) > length:
                raise InvalidPair(f"{path.name} is said to hold more than its {length} bytes")
            return {name: _read_piece(file, piece) for name, piece in pieces.items()}
    except OSError as error:
        raise InvalidPair(f"{path.name} cannot be read: {error.strerror}") from None


def _read_piece(file: Any, piece: Piece) -> np.ndarray:
    count = math.prod(piece.shape)
    stored = np.dtype(np.uint8) if piece.dtype.kind == "b" else piece.dtype
    file.seek(piece.offset)
    array = np.fromfile(file, stored, count)
    if len(array) != count:
        raise InvalidPair("the .h5 was cut off while it was read")
    array = array != 0 if piece.dtype.kind == "b" else array.astype(stored.newbyteorder("="), copy=False)
    return array.reshape(piece.shape)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"

"""An ``.h5`` in two steps: its structure first, then its large arrays, each at its place.

HDF5 reserves the arrays' places, and writes nothing there. Then their bytes go to the file as they are, without
a copy, with the interpreter's lock given back, and are summed on their way, so that nothing is read again.

They go in small pieces: a kernel that is in the middle of a large write gives a core back to the training late.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import h5py
import numpy as np

from ...core.manifest import FileRecord
from ...spool import CHUNK, Sums

_FLOATS = ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e4m3b11fnuz")
WIDER = {**dict.fromkeys(_FLOATS, "float32"), "int4": "int8", "uint4": "uint8"}
_LARGE = 1 << 16
_PAGE = 4096


def as_array(value: Any) -> np.ndarray:
    """A tensor's memory, or an array. NumPy does not get a single number of a type that isn't its own (bfloat16)."""
    return np.asarray(value.numpy() if hasattr(value, "numpy") and len(value.shape) == 0 else value)


def holds_numbers(array: np.ndarray) -> bool:
    """Of a type that HDF5 and NumPy have in common? (bfloat16 is none, nor are the eight-bit floats.)"""
    return array.dtype.isbuiltin == 1 and array.dtype.kind in "fiub"


def widened(array: np.ndarray) -> np.ndarray:
    """The same values, in a type that HDF5 has: bfloat16 and eight-bit floats as float32, four-bit integers as int8.

    Keras converts them back as it reads them.
    """
    if array.dtype.isbuiltin == 1 or array.dtype.name not in WIDER:
        return array
    return array.astype(WIDER[array.dtype.name])


class Values(Protocol):
    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class Planned:
    """Where an array is to stand in the file."""

    key: Any
    offset: int


class Layout:
    """A file that is being laid out. ``plan`` is called for each array, ``write`` once the file is closed.

    ``names`` tells the first dataset in which each key's array stands, of those that hold plain numbers. What it lacks
    is not in the file, or not as it was.
    """

    def __init__(self, path: Path) -> None:
        self.names: dict[Any, str] = {}
        self._path = path
        self._planned: list[Planned] = []
        self.file = h5py.File(path, "w", alignment_threshold=_LARGE, alignment_interval=_PAGE)

    def __enter__(self) -> Layout:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def plan(self, group: h5py.Group, name: str, key: Any, value: Any) -> None:
        """Makes the dataset. What is small, or no plain numbers, is written at once.

        Raises TypeError for a type that HDF5 lacks, and ValueError where something of that name stands already.
        """
        array = as_array(value)
        if array.nbytes < _LARGE or not holds_numbers(array):
            dataset = group.create_dataset(name, data=array)
        else:
            created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            created.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            created.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            dataset = group.create_dataset(name, array.shape, array.dtype, dcpl=created)
            self._planned.append(Planned(key, dataset.id.get_offset()))
        if holds_numbers(array):
            self.names.setdefault(key, dataset.name.removeprefix("/"))

    def write(self, values: Values, most_dirty: int | None) -> FileRecord:
        """Writes what was planned, with at most ``most_dirty`` bytes that the disk doesn't have yet. Raises OSError.

        The room for all of it is taken first.
        """
        planned, sums = sorted(self._planned, key=lambda one: one.offset), Sums()
        with self._path.open("r+b", buffering=0) as file:
            if planned:
                end = planned[-1].offset + np.asarray(values[planned[-1].key]).nbytes
                os.posix_fallocate(file.fileno(), 0, max(end, os.fstat(file.fileno()).st_size))
            behind = _WriteBehind(file, most_dirty)
            for one in planned:
                sums.read(file, one.offset - file.tell())
                _write(file, np.ascontiguousarray(values[one.key]), sums, behind)
            sums.read(file)
        return sums.record()


class _WriteBehind:
    """Has the disk follow what is written to the file, so that not all of it is in memory a second time.

    The page cache keeps a copy, for the upload, which the kernel may drop whenever it needs the memory.
    """

    def __init__(self, file: IO[bytes], most_dirty: int | None) -> None:
        self._file = file
        self._most = most_dirty
        self._dirty = 0

    def wrote(self, count: int) -> None:
        self._dirty += count
        if self._most is not None and self._dirty >= self._most:
            os.fdatasync(self._file.fileno())
            self._dirty = 0


def _write(file: IO[bytes], array: np.ndarray, sums: Sums, behind: _WriteBehind) -> None:
    rest = array.reshape(-1).view(np.uint8).data
    while rest:
        piece = rest[:CHUNK]
        count = file.write(piece)
        sums.update(piece[:count])
        behind.wrote(count)
        rest = rest[count:]

"""An ``.h5`` in two steps: its structure first, then its large arrays, each at its place.

HDF5 lays out a file without a name. It reserves the arrays' places, and writes nothing there. Those that are settled
(frozen weights) come first, apart from all that changes: what has not changed since an earlier pair fills whole parts
of the file. Their bytes then go to the file as they are, without a copy, with the interpreter's lock given back, and
are summed on their way, so that nothing is read again.

They go in small pieces: a kernel that is in the middle of a large write gives a core back to the training late.

The file may be written over an earlier one (spool/retired.py): then only the parts that differ are written.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import h5py
import numpy as np

from ...core.manifest import FileRecord
from ...spool import Sums, part_size_of
from .arrays import Piece
from .part_sums import sums_of

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
    """An array that is to stand in the file, in its own dataset."""

    key: Any
    dataset: h5py.Dataset
    settled: bool

    def reserve(self) -> None:
        """Takes its place in the file, by its first element."""
        one, id_ = (1,) * len(self.dataset.shape), self.dataset.id
        space = id_.get_space()
        space.select_hyperslab((0,) * len(one), one)
        id_.write(h5py.h5s.create_simple(one), space, np.zeros(one, self.dataset.dtype))

    @property
    def offset(self) -> int:
        """In bytes."""
        return int(self.dataset.id.get_offset())


class Layout:
    """A file that is being laid out. ``plan`` is called for each array, ``write`` once the file is closed.

    ``names`` tells the first dataset in which each key's array stands, of those that hold plain numbers. What it lacks
    is not in the file, or not as it was. ``pieces`` are the datasets that stand in one piece, once the file is closed.
    """

    def __init__(self, path: Path) -> None:
        self.names: dict[Any, str] = {}
        self.pieces: dict[str, Piece] = {}
        self._path = path
        self._planned: list[Planned] = []
        self._named: dict[str, h5py.Dataset] = {}
        self._offsets: list[tuple[int, Any]] = []
        place = path.with_name(f"{path.name}.layout")
        self.file = _new_file(place)
        try:
            self._laid_out = place.open("rb", buffering=0)
        finally:
            place.unlink()  # so it is gone with this process, and the disk need not have it

    def __enter__(self) -> Layout:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with contextlib.ExitStack() as failed:
            failed.callback(self._laid_out.close)
            with self.file:
                if kind is None:
                    self._reserve()
            if kind is None:
                failed.pop_all()

    def _reserve(self) -> None:
        for one in sorted(self._planned, key=lambda one: not one.settled):
            one.reserve()
        self._offsets = sorted(((one.offset, one.key) for one in self._planned), key=lambda found: found[0])
        for name, dataset in self._named.items():
            offset, size = dataset.id.get_offset(), dataset.id.get_storage_size()
            piece = None if offset is None else Piece(offset, dataset.dtype, dataset.shape)
            if piece is not None and piece.size == size:
                self.pieces[name] = piece

    def plan(self, group: h5py.Group, name: str, key: Any, value: Any, settled: bool = False) -> h5py.Dataset:
        """Makes the dataset. What is small, or no plain numbers, is written at once. ``settled``: it rarely changes.

        Raises TypeError for a type that HDF5 lacks, and ValueError where something of that name stands already.
        """
        array = as_array(value)
        if array.nbytes < _LARGE or not holds_numbers(array):
            dataset = group.create_dataset(name, data=array)
        else:
            created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            created.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
            created.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            dataset = group.create_dataset(name, array.shape, array.dtype, dcpl=created)
            self._planned.append(Planned(key, dataset, settled))
        if holds_numbers(array):
            name = self.names.setdefault(key, dataset.name.removeprefix("/"))
            self._named.setdefault(name, dataset)
        return dataset

    def write(self, values: Values, most_dirty: int | None, over: Path | None = None) -> FileRecord:
        """Writes the file, with at most ``most_dirty`` bytes that the disk doesn't have yet. Raises OSError.

        The room for all of it is taken first. ``over`` is a file that becomes this one, whatever is in it: what it has
        already is not written.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        with self._laid_out, open(os.open(over or self._path, flags, 0o600), "r+b", buffering=0) as file:
            size = max(self._end(values), os.fstat(self._laid_out.fileno()).st_size)
            sums = sums_of(part_size_of(size), _Target(file, most_dirty), file if over else None)
            _take_room(file, size)
            at = 0
            for offset, key in self._offsets:
                self._copy(at, offset, sums)
                at = offset + _write(np.ascontiguousarray(values[key]), sums)
            self._copy(at, size, sums)
            record = sums.record()
            sums.wrote(file)
        if over is not None:
            os.rename(over, self._path)
        return record

    def _copy(self, first: int, end: int, sums: Sums) -> None:
        """What HDF5 has written there."""
        self._laid_out.seek(first)
        sums.read(self._laid_out, end - first)

    def _end(self, values: Values) -> int:
        if not self._offsets:
            return 0
        last, key = self._offsets[-1]
        return last + int(np.asarray(values[key]).nbytes)


def _new_file(path: Path) -> h5py.File:
    """As ``h5py.File(path, "x")`` makes it, but for what that has no argument for: without a sieve buffer a first
    element is a write of a few bytes, and not of 64 KiB that are read before.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_libver_bounds(h5py.h5f.LIBVER_EARLIEST, h5py.h5f.LIBVER_LATEST)
    access.set_file_locking(False, False)
    access.set_alignment(_LARGE, _PAGE)
    access.set_sieve_buf_size(0)
    return h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_EXCL, fapl=access))


class _Target:
    """Has the disk follow what is written to the file, so that not all of it is in memory a second time.

    The page cache keeps a copy, for the upload, which the kernel may drop whenever it needs the memory.
    """

    def __init__(self, file: IO[bytes], most_dirty: int | None) -> None:
        self._file = file
        self._most = most_dirty
        self._dirty = 0

    def write(self, data: memoryview) -> None:
        while data:
            count = self._file.write(data)
            data = data[count:]
            self._dirty += count
        if self._most is not None and self._dirty >= self._most:
            os.fdatasync(self._file.fileno())
            self._dirty = 0

    def keep(self, count: int) -> None:
        self._file.seek(count, os.SEEK_CUR)


def _take_room(file: IO[bytes], size: int) -> None:
    """Raises OSError where the disk has none."""
    before = os.fstat(file.fileno()).st_size
    if before > size:
        file.truncate(size)
    if size:
        os.posix_fallocate(file.fileno(), 0, size)


def _write(array: np.ndarray, sums: Sums) -> int:
    """Returns its size in bytes."""
    data = array.reshape(-1).view(np.uint8).data
    sums.update(data)
    return len(data)

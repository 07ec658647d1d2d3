"""Size and checksums of a file, and whether it still has them.

A large file has checksums of its parts, and one that is computed from these (core/manifest.py, FileParts): what has not
changed need not be summed again.
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from pathlib import Path
from typing import IO

from ..core.errors import InvalidPair
from ..core.manifest import FileParts, FileRecord
from .crc32 import whole as crc32_of

CHUNK = 1 << 18
"""Bytes that fit into a core's own cache: what is written and summed in such pieces is read from memory once."""

PART = 8 << 20
_MOST_PARTS = 1000
_MIB = 1 << 20


def part_size_of(size: int) -> int | None:
    """Bytes of each part of a file of that size; None for a small one, which has no parts."""
    return None if size < 2 * PART else max(PART, -(-size // _MOST_PARTS // _MIB) * _MIB)


class Sums:
    """Size and checksums of a file, computed from its bytes in order, at most CHUNK at a time.

    With ``part_size`` they are those of its parts.
    """

    def __init__(self, part_size: int | None = None) -> None:
        self._part_size = part_size
        self._parts: list[tuple[str, int, int]] = []
        self._size = 0
        self._left = sys.maxsize if part_size is None else part_size
        self._begin()

    def _begin(self) -> None:
        self._sha256 = hashlib.sha256()
        self._part_crc32 = 0

    def update(self, data: memoryview) -> None:
        while len(data) > self._left:
            head, data = data[: self._left], data[self._left :]
            self.update(head)
        self._take(data)
        self._size += len(data)
        self._left -= len(data)
        if not self._left:
            self._end_part()

    def _take(self, data: memoryview) -> None:
        self._sha256.update(data)
        self._part_crc32 = zlib.crc32(data, self._part_crc32)

    def _sums(self) -> tuple[str, int]:
        """Of the part that ends here."""
        return self._sha256.hexdigest(), self._part_crc32

    def _end_part(self) -> None:
        assert self._part_size is not None
        self._parts.append((*self._sums(), self._part_size - self._left))
        self._left = self._part_size
        self._begin()

    def read(self, file: IO[bytes], most: int = sys.maxsize) -> None:
        """Takes what comes next of an unbuffered file: to its end, or ``most`` bytes."""
        buffer = memoryview(bytearray(min(CHUNK, most)))
        while most and (count := file.readinto(buffer[: min(CHUNK, most)])):  # type: ignore[attr-defined]
            self.update(buffer[:count])
            most -= count

    def record(self) -> FileRecord:
        if self._part_size is None:
            sha256, crc32 = self._sums()
            return FileRecord(self._size, sha256, crc32)
        if self._left < self._part_size:
            self._end_part()
        parts = FileParts(self._part_size, tuple(one[0] for one in self._parts), tuple(one[1] for one in self._parts))
        return FileRecord(self._size, parts.whole(), crc32_of(part[1:] for part in self._parts), parts)


def record_of(path: Path) -> FileRecord:
    """Size and checksums of a file as it is on disk, without parts."""
    return _read(path, None)


def record_in_parts(path: Path) -> FileRecord:
    """The same, with its parts if it is large."""
    return _read(path, part_size_of(path.stat().st_size))


def _read(path: Path, part_size: int | None) -> FileRecord:
    sums = Sums(part_size)
    with path.open("rb", buffering=0) as file:
        sums.read(file)
    return sums.record()


def has_content(path: Path, record: FileRecord) -> bool:
    """Reads every byte: are size and checksum as recorded? Raises OSError."""
    return path.stat().st_size == record.size and _read(path, record.part_size) == record


def check_file(path: Path, record: FileRecord) -> None:
    """Raises InvalidPair unless the file has the recorded size and checksum."""
    try:
        size = path.stat().st_size
        if size != record.size:
            raise InvalidPair(f"{path.name} has {size} bytes where its manifest says {record.size}")
        if not has_content(path, record):
            raise InvalidPair(f"{path.name} differs from its checksum")
    except OSError as error:
        raise InvalidPair(f"{path.name} cannot be read: {error.strerror}") from None

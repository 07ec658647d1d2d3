"""Size and checksums of a file, and whether it still has them."""

from __future__ import annotations

import hashlib
import sys
import zlib
from pathlib import Path
from typing import IO

from ..core.errors import InvalidPair
from ..core.manifest import FileRecord

CHUNK = 1 << 18
"""Bytes that fit into a core's own cache: what is written and summed in such pieces is read from memory once."""


class Sums:
    """Size and checksums of a file, computed from its bytes in order, at most CHUNK at a time."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._size = self._crc32 = 0

    def update(self, data: memoryview) -> None:
        self._sha256.update(data)
        self._crc32 = zlib.crc32(data, self._crc32)
        self._size += len(data)

    def read(self, file: IO[bytes], most: int = sys.maxsize) -> None:
        """Takes what comes next of an unbuffered file: to its end, or ``most`` bytes."""
        buffer = memoryview(bytearray(min(CHUNK, most)))
        while most and (count := file.readinto(buffer[: min(CHUNK, most)])):  # type: ignore[attr-defined]
            self.update(buffer[:count])
            most -= count

    def record(self) -> FileRecord:
        return FileRecord(self._size, self._sha256.hexdigest(), self._crc32)


def record_of(path: Path) -> FileRecord:
    """Size and checksums of a file as it is on disk."""
    sums = Sums()
    with path.open("rb", buffering=0) as file:
        sums.read(file)
    return sums.record()


def check_file(path: Path, record: FileRecord) -> None:
    """Raises InvalidPair unless the file has the recorded size and checksum."""
    try:
        size = path.stat().st_size
        if size != record.size:
            raise InvalidPair(f"{path.name} has {size} bytes where its manifest says {record.size}")
        if record_of(path).sha256 != record.sha256:
            raise InvalidPair(f"{path.name} differs from its checksum")
    except OSError as error:
        raise InvalidPair(f"{path.name} cannot be read: {error.strerror}") from None

"""Where a training stands, in memory that the supervisor shares with it."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple


class Progress(NamedTuple):
    """Where a training process stands; ``executed`` counts the batches that it really ran, ``validated`` the seconds of
    validation that came to their end.
    """

    executed: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    validated: float = 0.0


class Board:
    """Progress in shared memory: it costs the training nothing, and survives a SIGKILL of the process that wrote it.

    A file of five little-endian 64-bit counts, as in Progress, the last one in microseconds; one of an earlier version
    has four. ``executed`` and ``validated`` count over all processes that trained in this folder. A reader may see the
    counts of two neighbouring batches mixed; these two alone are always exact.
    """

    FILE = "progress"
    _LAYOUT = struct.Struct("<5q")
    _PLACE = struct.Struct("<4q")
    _VALIDATED = struct.Struct("<q")

    def __init__(self, path: Path) -> None:
        """Raises OSError where the disk has no room for it: later that would be a SIGBUS."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            os.pwrite(descriptor, bytes(max(0, self._LAYOUT.size - size)), size)
            os.ftruncate(descriptor, self._LAYOUT.size)
            self._memory = mmap.mmap(descriptor, self._LAYOUT.size)
        finally:
            os.close(descriptor)

    def write(self, progress: Progress) -> None:
        """All but ``validated``, which ``add_validation`` counts."""
        self._PLACE.pack_into(self._memory, 0, *progress[:4])

    def add_validation(self, seconds: float) -> None:
        total = self.validated + max(0.0, seconds)
        self._VALIDATED.pack_into(self._memory, self._PLACE.size, round(total * 1e6))

    @property
    def validated(self) -> float:
        (microseconds,) = self._VALIDATED.unpack_from(self._memory, self._PLACE.size)
        return float(microseconds / 1e6)

    @classmethod
    def read(cls, path: Path) -> Progress:
        """All zero while there is no board. Reads up to five times, until it sees the same twice."""
        try:
            data = path.read_bytes()
            for _ in range(5):
                before, data = data, path.read_bytes()
                if before == data:
                    break
            earlier = len(data) == cls._PLACE.size
            executed, epoch, batch, step, validated = cls._LAYOUT.unpack(
                data + bytes(cls._VALIDATED.size) if earlier else data
            )
            return Progress(executed, epoch, batch, step, validated / 1e6)
        except (FileNotFoundError, struct.error):
            return Progress()

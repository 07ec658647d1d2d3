"""Where a training stands, in memory that the supervisor shares with it."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple


class Progress(NamedTuple):
    """Where a training process stands; ``executed`` counts the batches that it really ran."""

    executed: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0


class Board:
    """Progress in shared memory: it costs the training nothing, and survives a SIGKILL of the process that wrote it.

    A file of four little-endian 64-bit counts, as in Progress. ``executed`` counts over all processes that trained in
    this folder. A reader may see the counts of two neighbouring batches mixed; ``executed`` alone is always exact.
    """

    FILE = "progress"
    _LAYOUT = struct.Struct("<4q")

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, self._LAYOUT.size)
            self._memory = mmap.mmap(descriptor, self._LAYOUT.size)
        finally:
            os.close(descriptor)

    def write(self, progress: Progress) -> None:
        self._LAYOUT.pack_into(self._memory, 0, *progress)

    @classmethod
    def read(cls, path: Path) -> Progress:
        """All zero while there is no board. Reads up to five times, until it sees the same twice."""
        try:
            data = path.read_bytes()
            for _ in range(5):
                before, data = data, path.read_bytes()
                if before == data:
                    break
            return Progress(*cls._LAYOUT.unpack(data))
        except (FileNotFoundError, struct.error):
            return Progress()

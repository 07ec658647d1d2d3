"""Disks and terminals that give up."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

from holdfast.spool import Spool


class SmallDisk(Spool):
    """A run's folder on a disk of so many bytes: below zero there would be an error."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path)
        self.size = size

    def free(self) -> int:
        return self.size - sum(entry.stat().st_size for entry in os.scandir(self.path))


class GoneTerminal(io.TextIOBase):
    """Nobody sees what is written here any more."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")

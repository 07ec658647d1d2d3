"""Where one rank of a gang stands, in memory that its supervisor shares with it (core/gang/agreement.py)."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

SAVE, STOP = 1, 2


class GangBoard:
    """A file of seven little-endian 64-bit counts; each is written by one side alone.

    The training writes how many boundaries it has ``passed``, the one that it is ``held`` at (0: none), and the number
    of the last request that it has ``done``. The supervisor writes the number of its last ``request``, and then the
    boundary to act at (``target``; 0: not known yet) with the ``action``. ``save_at`` is a boundary before that, where
    other ranks have saved already (0: none).
    """

    FILE = "gang"
    _COUNTS = ("passed", "held", "done", "request", "target", "action", "save_at")
    _COUNT = struct.Struct("<q")

    def __init__(self, path: Path) -> None:
        """Raises OSError where the disk has no room for it."""
        size = len(self._COUNTS) * self._COUNT.size
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            present = os.fstat(descriptor).st_size
            os.pwrite(descriptor, bytes(max(0, size - present)), present)
            self._memory = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        """Before a start of the command."""
        self._memory[:] = bytes(len(self._memory))

    def _get(self, place: int) -> int:
        (count,) = self._COUNT.unpack_from(self._memory, place * self._COUNT.size)
        return int(count)

    def _set(self, place: int, count: int) -> None:
        self._COUNT.pack_into(self._memory, place * self._COUNT.size, count)

    # --- written by the training

    @property
    def passed(self) -> int:
        return self._get(0)

    @passed.setter
    def passed(self, count: int) -> None:
        self._set(0, count)

    @property
    def held(self) -> int:
        return self._get(1)

    @held.setter
    def held(self, boundary: int) -> None:
        self._set(1, boundary)

    @property
    def done(self) -> int:
        return self._get(2)

    @done.setter
    def done(self, request: int) -> None:
        self._set(2, request)

    # --- written by the supervisor

    @property
    def request(self) -> int:
        """The number of the one that is open; 0 without any."""
        number = self._get(3)
        return number if number > self.done else 0

    def ask(self, request: int) -> None:
        """Its boundary follows by ``act_at``."""
        self._set(4, 0)
        self._set(3, request)

    def act_at(self, target: int, action: int, save_at: int = 0) -> None:
        self._set(6, save_at)
        self._set(5, action)
        self._set(4, target)

    @property
    def target(self) -> int:
        return self._get(4)

    @property
    def action(self) -> int:
        return self._get(5)

    @property
    def save_at(self) -> int:
        return self._get(6)

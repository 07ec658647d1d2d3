"""Has the command loaded TensorFlow? That is seen from outside: its libraries are mapped into a process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

_EVERY = 2.0
_NAME = b"libtensorflow"


class LibraryWatch:
    """Of one start of the command. ``seen`` once it has; ``look`` costs a few milliseconds every other second until
    then, or until it is ``over``.
    """

    def __init__(self) -> None:
        self.seen = False
        self.over = False
        self._due = float("-inf")

    def look(self, now: float, processes: Callable[[], Iterable[psutil.Process]]) -> None:
        if self.seen or self.over or now < self._due:
            return
        self._due = now + _EVERY
        self.seen = any(_has_loaded(process.pid) for process in processes())


def _has_loaded(pid: int) -> bool:
    with contextlib.suppress(OSError):  # it ended, or is another user's
        return _NAME in Path(f"/proc/{pid}/maps").read_bytes()
    return False

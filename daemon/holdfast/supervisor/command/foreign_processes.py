"""Processes below this one that are not of the command."""

from __future__ import annotations

import contextlib
import os

import psutil


class ForeignProcesses:
    """Processes below this one that are not the command's: those that a shell had started before it became holdfast by
    exec, and what those start. Make it before the command is started.

    Their orphans are inherited here, as the command's are. One that stays in this session is recognized by it: the
    command has a session of its own, and no process can enter another's.
    """

    def __init__(self) -> None:
        self._before = frozenset(psutil.Process().children(recursive=True))
        self._session = os.getsid(0)

    def have(self, pid: int) -> bool:
        with contextlib.suppress(OSError, psutil.Error):
            return os.getsid(pid) == self._session or psutil.Process(pid) in self._before
        return False

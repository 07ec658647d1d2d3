"""Processes below this one that are not of the command."""

from __future__ import annotations

import contextlib
import os

import psutil


class ForeignProcesses:
    """Whoever is below this process and not of the command: what a shell had started before it became holdfast by exec,
    and what that starts. Make it before the command is started.

    What loses its parent among them comes here as the command's orphans do. Those who stay in this session can be told:
    the command has its own, and nobody gets into another's.
    """

    def __init__(self) -> None:
        self._before = frozenset(psutil.Process().children(recursive=True))
        self._session = os.getsid(0)

    def have(self, pid: int) -> bool:
        with contextlib.suppress(OSError, psutil.Error):
            return os.getsid(pid) == self._session or psutil.Process(pid) in self._before
        return False

"""Waits for every child of this process, and says how each ended.

One reaper owns every wait status: ``waitpid(-1)`` beside a ``Popen.wait()`` would steal statuses, and a crash would
read as success. So children are started by posix_spawn, and a single thread waits for all of them, orphans included.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from .foreign_processes import ForeignProcesses

_PR_SET_CHILD_SUBREAPER = 36
_LOOK_FOR_ORPHANS = 1.0
_KILL_ROUNDS, _KILL_PAUSE = 100, 0.01


@dataclass(frozen=True)
class Ended:
    """How a process ended: by itself with ``status``, or by ``signal`` (0 is none)."""

    status: int
    signal: int = 0

    @property
    def code(self) -> int:
        """As a shell reports it."""
        return 128 + self.signal if self.signal else self.status

    def describe(self, out_of_memory: bool = False) -> str:
        text = f"killed by {_name(self.signal)}" if self.signal else f"exit {self.status}"
        if out_of_memory:
            killed = self.signal == signal.SIGKILL
            return (
                f"{text}: out of memory" if killed else f"{text}; the kernel killed one of its processes: out of memory"
            )
        return text


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


class Reaper:
    """Waits for every child of this process, its own and those it inherits. There is one in a process, to its end.

    Make it before anything is started. It reports all ends but those of foreign processes.
    """

    def __init__(self) -> None:
        self._on_exit: Callable[[int, Ended], None] | None = None
        self._beside: dict[int, Callable[[Ended], None]] = {}
        self._starting = threading.Lock()
        self._have_children = threading.Event()
        self._foreign = ForeignProcesses()

    def start(self, on_exit: Callable[[int, Ended], None]) -> None:
        """Makes this process the one that inherits the orphans below it, and waits for children from now on.

        Started again, it calls the new ``on_exit`` from then on.
        """
        begun, self._on_exit = self._on_exit is not None, on_exit
        if begun:
            return
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        threading.Thread(target=self._reap, name="reaper", daemon=True).start()

    def start_beside(self, spawn: Callable[[], int], on_exit: Callable[[Ended], None]) -> int:
        """A process beside the command, which ``spawn`` starts: its end is reported to that ``on_exit`` alone. One that
        stays in this session is left alone by ``kill_tree``. Raises what ``spawn`` does.
        """
        with self._starting:  # it may end before its pid is known here
            pid = spawn()
            self._beside[pid] = on_exit
        self.expect()
        return pid

    def expect(self) -> None:
        self._have_children.set()

    def _reap(self) -> None:
        while True:
            self._have_children.wait(_LOOK_FOR_ORPHANS)  # PID 1 inherits some without having had a child
            self._have_children.clear()
            with contextlib.suppress(ChildProcessError):
                while True:
                    self._reap_one()

    def _reap_one(self) -> None:
        """Looks at the process before it is reaped, as its pid may be another's after that."""
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        assert found is not None
        assert self._on_exit is not None
        foreign = self._foreign.have(found.si_pid)
        os.waitid(os.P_PID, found.si_pid, os.WEXITED)
        ended = Ended(0, found.si_status) if found.si_code != os.CLD_EXITED else Ended(found.si_status)
        with self._starting:
            beside = self._beside.pop(found.si_pid, None)
        if beside is not None:
            beside(ended)
        elif not foreign:
            self._on_exit(found.si_pid, ended)

    def kill_tree(self, spare: int = 0) -> None:
        """SIGKILL to everything below this process, until none is left or it cannot be killed.

        Not to foreign ones, nor to its child ``spare`` and what is below that.
        """
        for _ in range(_KILL_ROUNDS):
            found = [process for process in self._tree(spare) if _lives(process)]
            if not found:
                return
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(_KILL_PAUSE)

    def _tree(self, spare: int) -> list[psutil.Process]:
        """No process of the command is below a foreign one."""
        children = (process for process in psutil.Process().children() if process.pid != spare)
        tree = [process for process in children if not self._foreign.have(process.pid)]
        for process in [*tree]:
            with contextlib.suppress(psutil.Error):
                tree += process.children(recursive=True)
        return tree


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False

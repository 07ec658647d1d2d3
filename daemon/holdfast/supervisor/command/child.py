"""The command as a child process: its start, its end, and everything that it started.

The command is ended in steps: it is asked (core/machine/table.py says when), it and its tree get SIGTERM, then
SIGKILL. What it leaves behind is ended by guardian.py, which also ends everything when this process is killed. Its wait
status is the reaper's (reaper.py).
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from .oom import MemoryKills
from .reaper import Ended

_START_SECONDS = 5.0
_MOST_DUMPS, _DUMP_PAUSE = 20, 0.01


class Child:
    """The command and everything below it. ``pid`` is that of guardian.py's guardian on top, ``command`` the command's.

    Processes are known by pid and start time (psutil), so that a pid which was given to another one since is safe.
    Call from the main thread; ``output`` takes both streams. Raises OSError if the command cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], output: int) -> None:
        self._link, theirs = socket.socketpair()
        self._reported: collections.Counter[str] = collections.Counter()
        self._memory = MemoryKills()
        launcher = str(Path(__file__).with_name("guardian.py"))
        with contextlib.ExitStack() as failed, theirs:
            failed.callback(self._link.close)
            theirs.set_inheritable(True)
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", launcher, str(theirs.fileno()), *command],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsid=True,
                setsigmask=[signal.SIGTERM, signal.SIGINT, signal.SIGHUP],  # guardian.py unblocks them
                setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT],
            )
            failed.pop_all()
        self.command = self._read_pid(command[0])

    def _read_pid(self, command: str) -> int:
        """The guardian sends the command's pid as soon as it runs; where it cannot, its own pid is taken."""
        self._link.settimeout(_START_SECONDS)
        said = b""
        with contextlib.suppress(OSError):
            while not said.endswith(b"\n") and (byte := self._link.recv(1)):
                said += byte
        if said.startswith(b"!"):
            self._link.close()
            number = int(said[1:])
            raise OSError(number, os.strerror(number), command)
        self._link.setblocking(False)
        return int(said) if said.strip().isdigit() else self.pid

    def family(self) -> list[psutil.Process]:
        """The guardian, whose account has what orphans used, and the tree."""
        with contextlib.suppress(psutil.Error):
            return [psutil.Process(self.pid), *self.tree()]
        return []

    def tree(self) -> list[psutil.Process]:
        """The processes below the guardian, as they are now."""
        with contextlib.suppress(psutil.Error):
            return psutil.Process(self.pid).children(recursive=True)
        return []

    def terminate(self) -> None:
        """SIGTERM to the whole tree, and SIGCONT, so that a stopped process can act on it."""
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                process.terminate()
                process.resume()

    def dump_stacks(self, pid: int, number: int) -> int:
        """Asks a process of the tree for its stacks, by a signal, and then those that it forked. Returns how many.

        A process that would die of the signal is not asked. One that is stopped is woken to receive it.
        """
        tree = self.tree()
        asked = [process for process in _forks(pid, tree) if catches(process.pid, number)]
        for process in asked:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
                time.sleep(_DUMP_PAUSE)  # so that one after the other writes
        for process in tree:
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_STOPPED:
                    process.resume()
        return len(asked)

    @property
    def orphans(self) -> int:
        """How many processes lost their parent below the command and were reaped, so far."""
        return self._read_reports()["o"]

    @property
    def left_running(self) -> int:
        """How many processes a command that ended with 0 left running. They are ended by then."""
        return self._read_reports()["l"]

    @property
    def signalled(self) -> bool:
        """Did anybody but ``terminate`` send the guardian, and so most likely the command, a signal to end?"""
        return self._read_reports()["s"] > 0

    def _read_reports(self) -> collections.Counter[str]:
        with contextlib.suppress(OSError):
            while said := self._link.recv(4096):
                self._reported.update(said.decode("ascii", "replace"))
        return self._reported

    def begins(self) -> None:
        """After it stood by: what happened to other processes meanwhile is none of its own."""
        self._memory = MemoryKills()

    def describe(self, ended: Ended) -> str:
        """What ended the command, for people: the code, the signal, the kernel's out-of-memory killer."""
        return ended.describe(out_of_memory=self._memory.happened())

    def close(self) -> None:
        """After its end. While the command lives, this ends it: the guardian takes the supervisor for dead."""
        self._link.close()


def _forks(pid: int, tree: list[psutil.Process]) -> list[psutil.Process]:
    """The process of that pid in the tree, and those below it that are the same program, as a fork is."""
    with contextlib.suppress(psutil.Error, StopIteration):
        top = next(process for process in tree if process.pid == pid)
        below = itertools.islice(top.children(recursive=True), _MOST_DUMPS)
        return [top, *(process for process in below if _program(process) == _program(top))]
    return []


def _program(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return str(process.exe())
    return ""


def catches(pid: int, number: int) -> bool:
    """Has the process a handler for that signal?"""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        mask = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
        return bool(int(mask, 16) >> (number - 1) & 1)
    return False

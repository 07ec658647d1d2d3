"""The command as a child process: its start, its output, its end, and everything that it started.

One reaper owns every wait status: ``waitpid(-1)`` beside a ``Popen.wait()`` would steal statuses, and a crash would
read as success. So the child is started by posix_spawn, and a single thread waits for all children, orphans included.

The command is ended in steps: it is asked (core/machine/table.py says when), it and its tree get SIGTERM, then
SIGKILL. What it leaves behind is ended by guardian.py, which also ends everything when this process is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from ...spool import append_to
from .oom import MemoryKills

_PR_SET_CHILD_SUBREAPER = 36
_LOOK_FOR_ORPHANS = 1.0
_START_SECONDS = 5.0
_KILL_ROUNDS, _KILL_PAUSE = 100, 0.01
_MOST_DUMPS, _DUMP_PAUSE = 20, 0.01
_TAIL_BYTES = 4096
_DRAIN_SECONDS = 2.0


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
            return f"{text}: out of memory" if killed else f"{text}, after the kernel killed one of it: out of memory"
        return text


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


class Tee:
    """Copies the child's output, both streams in order, to the console and to the log; keeps the last lines."""

    def __init__(self, log: Path, console: IO[bytes] | None) -> None:
        self._log = append_to(log)
        self._console = console
        self._tail = b""
        read, self.write_end = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(read,), name="tee", daemon=True)

    def start(self) -> None:
        """Call when the child has its end of the pipe."""
        os.close(self.write_end)
        self._thread.start()

    def finish(self) -> None:
        """Waits for the rest of the output, but not for a grandchild that keeps the pipe open."""
        self._thread.join(_DRAIN_SECONDS)

    @property
    def seen(self) -> bool:
        """Does the console show it?"""
        return self._console is not None

    def last_lines(self, count: int = 10) -> list[str]:
        return self._tail.decode("utf-8", "replace").splitlines()[-count:]

    def _copy(self, descriptor: int) -> None:
        with contextlib.closing(self._log):
            while chunk := os.read(descriptor, 1 << 16):
                self._tail = (self._tail + chunk)[-_TAIL_BYTES:]
                with contextlib.suppress(OSError):  # a full disk must not stop the training
                    self._log.write(chunk)
                if self._console is not None:
                    self._show(chunk)
        os.close(descriptor)

    def _show(self, chunk: bytes) -> None:
        try:
            assert self._console is not None
            self._console.write(chunk)
            self._console.flush()
        except (OSError, ValueError):
            self._console = None  # whoever watched is gone; the log goes on


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


class Reaper:
    """Waits for every child of this process, its own and those it inherits. There is one in a process, to its end.

    Make it before anything is started. It tells of all ends but those of strangers.
    """

    def __init__(self) -> None:
        self._on_exit: Callable[[int, Ended], None] | None = None
        self._have_children = threading.Event()
        self._foreign = ForeignProcesses()

    def start(self, on_exit: Callable[[int, Ended], None]) -> None:
        """Makes this process the one that inherits the orphans below it, and waits for children from now on.

        Started again, it tells the new ``on_exit`` from then on.
        """
        begun, self._on_exit = self._on_exit is not None, on_exit
        if begun:
            return
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        threading.Thread(target=self._reap, name="reaper", daemon=True).start()

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
        """Looks at who it was before it is reaped, as its pid may be another's after that."""
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        assert found is not None
        assert self._on_exit is not None
        stranger = self._foreign.have(found.si_pid)
        os.waitid(os.P_PID, found.si_pid, os.WEXITED)
        if not stranger:
            killed = found.si_code != os.CLD_EXITED
            self._on_exit(found.si_pid, Ended(*((0, found.si_status) if killed else (found.si_status, 0))))

    def kill_tree(self) -> None:
        """SIGKILL to everything below this process but strangers, until nobody is left or it cannot be killed."""
        for _ in range(_KILL_ROUNDS):
            found = [process for process in self._tree() if _lives(process)]
            if not found:
                return
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(_KILL_PAUSE)

    def _tree(self) -> list[psutil.Process]:
        """Nobody of the command is below a stranger."""
        tree = [process for process in psutil.Process().children() if not self._foreign.have(process.pid)]
        for process in [*tree]:
            with contextlib.suppress(psutil.Error):
                tree += process.children(recursive=True)
        return tree


class Child:
    """The command and everything below it. ``pid`` is that of guardian.py's guardian on top, ``command`` the command's.

    Processes are known by pid and start time (psutil), so that a pid which was given to another one since is safe.
    Call from the main thread; ``output`` takes both streams.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], output: int) -> None:
        self._link, theirs = socket.socketpair()
        self._orphans = 0
        self._memory = MemoryKills()
        launcher = str(Path(__file__).with_name("guardian.py"))
        with theirs:
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
                setsigmask=[],
                setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT],
            )
        self.command = self._told()

    def _told(self) -> int:
        """The guardian says the command's pid as soon as it runs; one that cannot say so stands for it."""
        self._link.settimeout(_START_SECONDS)
        said = b""
        with contextlib.suppress(OSError):
            while not said.endswith(b"\n") and (byte := self._link.recv(1)):
                said += byte
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
        """SIGTERM to the whole tree, and to what is stopped, the go to act on it."""
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                process.terminate()
                process.resume()

    def dump_stacks(self, pid: int, number: int) -> int:
        """Asks a process of the tree for its stacks, by a signal, and then those that it forked. Returns how many.

        Whoever would die of it is not asked. Whoever is stopped in the tree is woken to hear it.
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
        with contextlib.suppress(OSError):
            while said := self._link.recv(4096):
                self._orphans += len(said)
        return self._orphans

    def describe(self, ended: Ended) -> str:
        """What ended the command, for people: the code, the signal, the kernel's out-of-memory killer."""
        return ended.describe(out_of_memory=self._memory.happened())

    def close(self) -> None:
        """After its end. While it lives, this ends it: the guardian takes the supervisor for dead."""
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


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False

"""The command as a child process: its start, its output, its end, and everything that it started.

One reaper owns every wait status: ``waitpid(-1)`` beside a ``Popen.wait()`` would steal statuses, and a crash would
read as success. So the child is started by posix_spawn, and a single thread waits for all children, orphans included.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from ..spool import append_to

_PR_SET_CHILD_SUBREAPER = 36
_TAIL_BYTES = 4096
_DRAIN_SECONDS = 2.0


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


class Reaper:
    """Waits for every child of this process, its own and those it inherits."""

    def __init__(self, on_exit: Callable[[int, int], None]) -> None:
        self._on_exit = on_exit
        self._have_children = threading.Event()
        self.orphans = 0

    def start(self) -> None:
        """Makes this process the one that inherits the orphans below it, and waits for children from now on."""
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        threading.Thread(target=self._reap, name="reaper", daemon=True).start()

    def expect(self) -> None:
        self._have_children.set()

    def _reap(self) -> None:
        while True:
            self._have_children.wait()
            self._have_children.clear()
            with contextlib.suppress(ChildProcessError):
                while True:
                    status = os.waitid(os.P_ALL, 0, os.WEXITED)
                    assert status is not None
                    killed = status.si_code != os.CLD_EXITED
                    self._on_exit(status.si_pid, 128 + status.si_status if killed else status.si_status)


def spawn(command: Sequence[str], environment: Mapping[str, str], output: int) -> int:
    """Starts ``command`` in a session of its own, both streams to ``output``, no input; returns its pid.

    Call from the main thread: the kernel's 'parent is dead' signal follows the thread that started the child.
    """
    launcher = str(Path(__file__).with_name("launch.py"))
    argv = [sys.executable, "-I", "-S", launcher, str(os.getpid()), *command]
    return os.posix_spawn(
        sys.executable,
        argv,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
    )


def terminate(pid: int) -> None:
    """SIGTERM to the child's process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)


def kill_tree(pid: int | None) -> None:
    """SIGKILL to the child's process group and to whatever else descends from this process."""
    if pid is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()

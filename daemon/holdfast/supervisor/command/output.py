"""The command's output: shown on the console and kept in the run's log."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import termios
import threading
from pathlib import Path

from ...core.event_sink import ByteSink
from ...spool import append_to

_TAIL_BYTES = 4096
_DRAIN_SECONDS = 2.0
_MOST_HELD = 1 << 20


class Tee:
    """Copies the child's output, both streams in order, to the console and to the log; keeps the last lines.

    With ``waits`` it is in the log from ``begin`` on: where in the log a start's output begins is noted before that.
    """

    def __init__(self, log: Path, console: ByteSink | None, waits: bool = False) -> None:
        self._log = append_to(log)
        self._console = console
        self._tail = b""
        self._copied = 0
        self._mark: int | None = None
        self._held: bytes | None = b"" if waits else None
        self._reading = threading.Lock()  # held while the end to read from is closed, or looked at
        self._closed = False
        self._read_end, self.write_end = os.pipe()
        self._thread = threading.Thread(target=self._copy, args=(self._read_end,), name="tee", daemon=True)

    def start(self) -> None:
        """Call before the child starts. Raises RuntimeError if there can be no further thread."""
        try:
            self._thread.start()
        except RuntimeError:
            os.close(self._read_end)
            os.close(self.write_end)
            self._log.close()
            raise

    def begin(self) -> None:
        """What came while it waited goes into the log now, and all that follows as it comes."""
        with self._reading:
            held, self._held = self._held, None
            if held and not self._closed:
                self._write(held)

    def handed_over(self) -> None:
        """The child has its end of the pipe, or there is none: the output ends with it."""
        os.close(self.write_end)

    def finish(self) -> None:
        """Waits for the rest of the output, but not for a grandchild that keeps the pipe open."""
        self._thread.join(_DRAIN_SECONDS)

    @property
    def seen(self) -> bool:
        """Does the console show it?"""
        return self._console is not None

    def last_lines(self, count: int = 10) -> list[str]:
        return self._tail.decode("utf-8", "replace").splitlines()[-count:]

    def mark(self) -> None:
        """What is written from now on is ``lines_since_mark``."""
        with self._reading:
            self._mark = self._copied + (0 if self._closed else _waiting_in(self._read_end))

    def lines_since_mark(self, count: int) -> list[str]:
        """The last of them, empty where there is no mark."""
        since = 0 if self._mark is None else max(0, self._copied - self._mark)
        return self._tail[max(0, len(self._tail) - since) :].decode("utf-8", "replace").splitlines()[-count:]

    def _copy(self, descriptor: int) -> None:
        while chunk := os.read(descriptor, 1 << 16):
            if not self._is_held(chunk):
                self._write(chunk)
            if self._console is not None:
                self._show(chunk)
        with self._reading:
            self._closed = True
            os.close(descriptor)
            self._log.close()

    def _is_held(self, chunk: bytes) -> bool:
        with self._reading:
            self._tail = (self._tail + chunk)[-_TAIL_BYTES:]
            self._copied += len(chunk)
            if self._held is None:
                return False
            self._held = (self._held + chunk)[-_MOST_HELD:]
            return True

    def _write(self, chunk: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk must not stop the training
            self._log.write(chunk)

    def _show(self, chunk: bytes) -> None:
        try:
            assert self._console is not None
            self._console.write(chunk)
            self._console.flush()
        except (OSError, ValueError):
            self._console = None  # nobody watches any more; the log continues


def _waiting_in(pipe: int) -> int:
    """The bytes that are written to it and not read yet."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]

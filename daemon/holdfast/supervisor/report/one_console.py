"""The command's output and holdfast's own lines in one terminal, pipe or file.

Keras leaves its progress bar as a line without an end, and draws it anew from the line's beginning. A line of ours that
starts in the middle of it is hard to read, so it begins a new one; the bar's next drawing is whole again below it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import IO, Any

from ...core.event_sink import ByteSink, TextSink


class OneConsole:
    """``output`` is for the command, ``lines`` for whole lines of text; either may be None, and is then not there.

    Where both end in the same file, a line begins a new one.
    """

    def __init__(self, output: IO[bytes] | None, lines: IO[str] | None) -> None:
        self.open = False
        self.lock = threading.Lock()
        shared = output is not None and lines is not None and _same(output, lines)
        self.output: ByteSink | None = _Output(self, output) if shared and output is not None else output
        self.lines: TextSink | None = _Lines(self, lines) if shared and lines is not None else lines


class _Output:
    def __init__(self, console: OneConsole, stream: IO[bytes]) -> None:
        self._console, self._stream = console, stream

    def write(self, data: bytes) -> None:
        with self._console.lock:
            self._stream.write(data)
            self._stream.flush()
            if data:
                self._console.open = not data.endswith(b"\n")

    def flush(self) -> None:
        """Done after each write, so that the order is kept."""


class _Lines:
    def __init__(self, console: OneConsole, stream: IO[str]) -> None:
        self._console, self._stream = console, stream

    def write(self, text: str) -> None:
        with self._console.lock:
            self._stream.write(f"\n{text}" if self._console.open else text)
            self._stream.flush()
            self._console.open = False

    def flush(self) -> None:
        """As above."""


def _same(one: IO[Any], other: IO[Any]) -> bool:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or no real file
        first, second = os.fstat(one.fileno()), os.fstat(other.fileno())
        return (first.st_dev, first.st_ino, first.st_rdev) == (second.st_dev, second.st_ino, second.st_rdev)
    return False

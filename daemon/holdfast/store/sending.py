"""Bytes on their way out: who wants to know is told, and can end it."""

from __future__ import annotations

import io
from pathlib import Path

from .base import OnSent


class Meter:
    """Passes counts on, from several threads. What the receiver raises ends every part, and comes out as it is.

    What sends would wrap it: an SDK wraps all that a body raises, and a store the errors of the operating system.
    """

    def __init__(self, progress: OnSent | None) -> None:
        self._progress = progress
        self._raised: BaseException | None = None

    def __call__(self, count: int) -> None:
        if self._raised is None and self._progress is not None:
            try:
                self._progress(count)
            except BaseException as error:
                self._raised = error
        if self._raised is not None:
            raise _AbandonedError

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._raised is not None:
            raise self._raised


class _AbandonedError(Exception):
    """Ends the SDK's work on a body. Whatever was raised may be something that its threads do not expect."""


class Body(io.FileIO):
    """A file on its way out; what is read while ``sending`` is told, before it leaves."""

    def __init__(self, path: Path, meter: Meter) -> None:
        super().__init__(path)
        self._meter = meter
        self._told = 0
        self.sending = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size) or b""
        if self.sending and self.tell() > self._told:
            self._meter(self.tell() - self._told)
            self._told = self.tell()
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self.sending = False  # from the start again: for a signature, or for another region
        return super().seek(offset, whence)

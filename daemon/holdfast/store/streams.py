"""The bytes of an object on their way to or from a store: counted, limited, and stopped early on request."""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

from ..core.errors import HoldfastError, SourceError, TooLarge, Transient
from .base import OnSent

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_CHUNK = range(16 << 10, 256 << 10)
"""Bytes sent in one piece: a 64th of the body, within these limits. Large pieces are fast; a slow link needs small
ones, since the SDK gives each piece the time of its connect timeout."""
_READ = 256 << 10


PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR}
"""Errors of a machine that has nothing left to open a file with: they say nothing about the file."""


def unreadable(path: object, error: OSError) -> HoldfastError:
    """What a put raises where the local file cannot be read."""
    kind = Transient if error.errno in PASSING else SourceError
    return kind(f"{path} cannot be read: {error.strerror}")


class Meter:
    """Reports counts of bytes to ``progress``, from several threads, one call at a time.

    What ``progress`` raises stops every part, and leaves the ``with`` block as it is. Without that the SDK would wrap
    it, as it wraps whatever a body raises.
    """

    def __init__(self, progress: OnSent | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._raised: BaseException | None = None
        self._reported = 0
        self.ended = False

    def __call__(self, count: int) -> None:
        with self._lock:
            if not self.ended and self._progress is not None:
                try:
                    self._progress(count)
                    self._reported += count
                except BaseException as error:
                    self._raised = error
                    self.ended = True
            if self.ended:
                raise AbandonedError

    def fail(self, error: Exception) -> NoReturn:
        """Ends all parts, as if ``progress`` had raised that."""
        self._raised, self.ended = self._raised or error, True
        raise AbandonedError

    def end(self) -> None:
        """One part has failed: the others stop at their next chunk."""
        self.ended = True

    def begin_again(self) -> None:
        """After the failure of a part, for another try at all of them: what was reported is taken back.

        Not if ``progress`` has raised.
        """
        self.ended = self._raised is not None
        if self._reported:
            self(-self._reported)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        if self._raised is not None:
            raise self._raised


class AbandonedError(Exception):
    """Stops the SDK's work on a body. The SDK's threads expect an Exception; the real one may not be."""


class FileBody:
    """``size`` bytes of an open file, from ``first`` on, as a body for the SDK, which reads it to sign it.

    It reads by position, so several bodies can share a file.
    """

    def __init__(self, file: IO[bytes], first: int, size: int, meter: Meter) -> None:
        self._file = file.fileno()
        self._name = file.name
        self._first = first
        self._size = size
        self._meter = meter
        self._at = 0
        self._told = 0
        self.sent_crc32 = 0

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        rest = self._size - self._at
        try:
            data = os.pread(self._file, rest if size is None or size < 0 else min(size, rest), self._first + self._at)
        except OSError as error:
            self._meter.fail(unreadable(self._name, error))
        self._at += len(data)
        return data

    def crc32(self) -> int:
        crc32 = 0
        for chunk in self._read_chunks(_READ):
            crc32 = zlib.crc32(chunk, crc32)
        return crc32

    def chunks(self) -> Iterator[memoryview]:
        """Chunks, each valid until the next one. Each is reported to the meter before it is sent, and once only.

        ``sent_crc32`` is then that of all that was sent.
        """
        at = self.sent_crc32 = 0
        for chunk in self._read_chunks(max(_CHUNK.start, min(self._size // 64, _CHUNK.stop))):
            at += len(chunk)
            if at > self._told:
                self._meter(at - self._told)
                self._told = at
            self.sent_crc32 = zlib.crc32(chunk, self.sent_crc32)
            yield chunk

    def _read_chunks(self, most: int) -> Iterator[memoryview]:
        """Raises OSError if the file became shorter: memory that is mapped to it would kill this process."""
        buffer = memoryview(bytearray(min(most, self._size)))
        at = 0
        while at < self._size:
            try:
                count = os.preadv(self._file, [buffer[: self._size - at]], self._first + at)
            except OSError as error:
                self._meter.fail(unreadable(self._name, error))
            if not count:
                raise OSError("the file became shorter while it was sent")
            yield buffer[:count]
            at += count


class ChunkedBody:
    """A body as an iterable, to be sent: the SDK sends its chunks as they are, but would read a file by 16 KiB."""

    def __init__(self, body: FileBody) -> None:
        self._body = body

    def __iter__(self) -> Iterator[memoryview]:
        return self._body.chunks()

    def seek(self, offset: int) -> None:
        """The SDK calls it before it tries another region. Nothing to do: each iteration begins at the start."""


class BoundedFile(io.BufferedWriter):
    """A file at ``path`` that takes no byte beyond the first ``most``: it raises TooLarge, which names the ``key``."""

    def __init__(self, path: Path, key: str, most: int | None) -> None:
        super().__init__(io.FileIO(path, "w"))
        self._key = key
        self._most = sys.maxsize if most is None else most

    def write(self, data: ReadableBuffer, /) -> int:
        if self.tell() + len(memoryview(data)) > self._most:
            raise TooLarge(f"{self._key} has more than {self._most} bytes")
        return super().write(data)

"""Checksums of a file's parts, taken as it is written, where those of a part that has not changed are known: a fast
hash tells. It tells too which parts of a file that this process wrote before need not be written again.

SHA-256 takes many times as long as XXH3 (benchmarks/hashes.py). XXH3-128 is no defence against somebody who makes two
contents of one hash, and need be none here: both are this process's own memory, and what is read back later is compared
with the SHA-256. By chance two contents have one hash in 2^-128 of all cases.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

from ...spool import CHUNK, Sums

try:
    from xxhash import xxh3_128 as _fast
except ImportError:  # the script may bring an environment of its own: all is summed there
    _fast = None  # type: ignore[assignment,misc,unused-ignore]

_MOST_KNOWN = 4096
_MOST_FILES = 64
_MOST_TIMES = 20


class Target(Protocol):
    """A file that is written in order."""

    def write(self, data: memoryview) -> None: ...

    def keep(self, count: int) -> None:
        """So many bytes stay as they are."""


@dataclass(frozen=True)
class Content:
    """Of a file that this process wrote: the fast hashes of its parts, and what a write of anybody's changes."""

    size: int
    mtime_ns: int
    part_size: int
    digests: tuple[bytes, ...]
    times: int = 0


class KnownSums:
    """SHA-256 and CRC-32 of the parts that were summed last, by their ``fast`` hash.

    ``changing`` are the indices of those that were not known the last time. As a rule they are not known the next time
    either, so they are summed while they are in the core's cache.
    """

    def __init__(self, fast: Callable[[], Any]) -> None:
        self.fast = fast
        self.changing: set[int] = set()
        self._found: OrderedDict[bytes, tuple[str, int]] = OrderedDict()
        self._files: OrderedDict[tuple[int, int], Content] = OrderedDict()

    def get(self, digest: bytes) -> tuple[str, int] | None:
        return self._found.get(digest)

    def keep(self, digest: bytes, sums: tuple[str, int]) -> None:
        _keep(self._found, digest, sums, _MOST_KNOWN)

    def content_of(self, file: IO[bytes]) -> Content | None:
        """None for a file that somebody else wrote, or wrote to.

        None, too, for one that was written over so many times that it is to be written anew: what the disk has damaged
        in it unseen must not stay for ever.
        """
        status = os.fstat(file.fileno())
        found = self._files.get((status.st_dev, status.st_ino))
        if found is None or (found.size, found.mtime_ns) != (status.st_size, status.st_mtime_ns):
            return None
        return found if found.times < _MOST_TIMES else None

    def forget_files(self) -> None:
        self._files.clear()

    def wrote(self, file: IO[bytes], part_size: int, digests: Sequence[bytes], times: int) -> None:
        status = os.fstat(file.fileno())
        content = Content(status.st_size, status.st_mtime_ns, part_size, tuple(digests), times)
        _keep(self._files, (status.st_dev, status.st_ino), content, _MOST_FILES)


def _keep(found: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    found[key] = value
    found.move_to_end(key)
    if len(found) > most:
        found.popitem(last=False)


_known = None if _fast is None else KnownSums(_fast)


def trust_no_file() -> None:
    """The disk has failed to take what was written, and the kernel forgets that once it has said so."""
    if _known is not None:
        _known.forget_files()


def sums_of(part_size: int | None, target: Target, over: IO[bytes] | None = None) -> WrittenSums:
    """For a file whose parts this process may have summed before. ``over``: it is written over that one."""
    if part_size is None or _known is None:
        return WrittenSums(part_size, target)
    return PartSums(part_size, _known, target, None if over is None else _known.content_of(over))


class WrittenSums(Sums):
    """Writes what it sums, however much it is given at once."""

    def __init__(self, part_size: int | None, target: Target) -> None:
        self._target = target
        super().__init__(part_size)

    def _take(self, data: memoryview) -> None:
        for piece in _pieces_of(data):
            self._target.write(piece)
            super()._take(piece)

    def wrote(self, file: IO[bytes]) -> None:
        """The file is written: it may be known the next time."""


class PartSums(WrittenSums):
    """What it is given must not change before the part ends: it may be known only then whether it must be summed, and
    written. ``there`` is what the file has now.
    """

    def __init__(self, part_size: int, known: KnownSums, target: Target, there: Content | None = None) -> None:
        self._known = known
        self._digests: list[bytes] = []
        same_parts = there is not None and there.part_size == part_size
        self._there = there.digests if there is not None and same_parts else ()
        self._times = there.times + 1 if there is not None and same_parts else 0
        super().__init__(part_size, target)

    def _begin(self) -> None:
        super()._begin()
        number = len(self._parts)
        self._fast = self._known.fast()
        self._pieces: list[memoryview] = []
        self._at_once = number in self._known.changing
        self._may_stay = not self._at_once and number < len(self._there)

    def _take(self, data: memoryview) -> None:
        if self._may_stay:
            self._fast.update(data)
            self._pieces.append(data)
            return
        for piece in _pieces_of(data):
            if self._at_once:
                super()._take(piece)
            else:
                self._target.write(piece)
                self._pieces.append(piece)
            self._fast.update(piece)

    def read(self, file: IO[bytes], most: int = sys.maxsize) -> None:
        while most and (piece := file.read(min(CHUNK, most))):
            self.update(memoryview(piece))
            most -= len(piece)

    def wrote(self, file: IO[bytes]) -> None:
        assert self._part_size is not None
        self._known.wrote(file, self._part_size, self._digests, self._times)

    def _sums(self) -> tuple[str, int]:
        digest, number = self._fast.digest(), len(self._parts)
        self._digests.append(digest)
        if self._may_stay and digest == self._there[number]:
            self._target.keep(sum(map(len, self._pieces)))
        elif self._may_stay:
            self._write_pieces()
        if (sums := self._known.get(digest)) is not None:
            self._known.changing.discard(number)
        else:
            self._known.changing.add(number)
            for data in self._pieces:
                for piece in _pieces_of(data):
                    Sums._take(self, piece)
            sums = super()._sums()
        self._known.keep(digest, sums)
        return sums

    def _write_pieces(self) -> None:
        for data in self._pieces:
            for piece in _pieces_of(data):
                self._target.write(piece)


def _pieces_of(data: memoryview) -> Iterator[memoryview]:
    return (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))

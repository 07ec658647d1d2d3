"""The run's folder on this machine: the spool between the training process and the store.

Both sides of the daemon use it, so it imports neither. A file appears in it whole or not at all (design invariant 2):
it is written under a temporary name in the same folder and renamed. Files are 0600, folders 0700.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
import re
import secrets
import shutil
import stat
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from ..core.errors import Busy, InvalidPair, SettingsError
from ..core.manifest import PARTS, CheckpointName, FileRecord, Manifest

TEMPORARY = ".tmp-"
STORED = "stored"
LOG_FILE = "log.txt"
_ID = re.compile(rb"[0-9a-f]{32}")
CHUNK = 1 << 18
"""Bytes that fit into a core's own cache: what is written and summed in such pieces is read from memory once."""


class Spool:
    """One run's folder. ``path`` is made if it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def run(self) -> str:
        return self.path.name

    def file(self, name: str) -> Path:
        return self.path / name

    def identity(self) -> str:
        """A random id, made once: who holds this folder's lock is the only one who can claim to be it.

        The file's inode and the machine's boot are part of it, so a copy of the folder (a disk image, say) is another.
        """
        path = self.file(".spool-id")
        if not path.exists() or not _ID.fullmatch(path.read_bytes()):
            write_whole(path, secrets.token_hex(16).encode(), durable=True)
        return f"{path.read_text()}-{path.stat().st_ino}-{_boot_id()}"

    def check(self) -> None:
        """Raises SettingsError where something else stands in the place of what a training writes all the time."""
        for path in (self.file(Board.FILE), self.file(LOG_FILE)):
            writable = path.is_file() and os.access(path, os.R_OK | os.W_OK)
            if os.path.lexists(path) and not writable:
                raise SettingsError(f"--work-dir: {path} is no file that this user may read and write: move it away")

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Held while a process works on this folder. Raises Busy when another one does."""
        return file_lock(self.file(".lock"))

    def pairs(self) -> list[CheckpointName]:
        """The pairs with a manifest, newest first."""
        names = (CheckpointName.of_manifest_file(entry.name) for entry in os.scandir(self.path))
        return sorted((n for n in names if n is not None), key=lambda n: n.order, reverse=True)

    def manifest(self, name: CheckpointName) -> Manifest:
        """Raises InvalidPair; FileNotFoundError if there is no such pair."""
        return Manifest.from_json(self.file(name.file("json")).read_bytes(), name)

    def verify(self, manifest: Manifest) -> None:
        """Rereads every byte. Raises InvalidPair if a file is missing or differs from its record."""
        for part, record in manifest.files.items():
            check_file(self.file(manifest.name.file(part)), record)

    def commit(self, manifest: Manifest, durable: bool) -> None:
        """Makes the pair exist: its data files are in place, the manifest comes last."""
        if durable:
            sync_folder(self.path)
        write_whole(self.file(manifest.name.file("json")), manifest.to_json(), durable)

    def remove(self, name: CheckpointName) -> None:
        """The manifest goes first: a pair is never half there."""
        for part in ("json", *PARTS, STORED):
            self.file(name.file(part)).unlink(missing_ok=True)

    def mark_stored(self, name: CheckpointName) -> None:
        """Notes that the store has the pair: when the disk is full, it may go."""
        self.file(name.file(STORED)).touch(mode=0o600)

    def unmark_stored(self, names: Iterable[CheckpointName]) -> None:
        """Forgets these notes: nobody knows which store they are about, or the store has lost the pairs."""
        for name in names:
            self.file(name.file(STORED)).unlink(missing_ok=True)

    def stored(self) -> list[CheckpointName]:
        """The pairs here that are known to be in the store, newest first."""
        return [name for name in self.pairs() if self.file(name.file(STORED)).exists()]

    def free(self) -> int:
        """Bytes that the disk has left for us."""
        return shutil.disk_usage(self.path).free

    def sweep(self) -> None:
        """Clears what a killed process left: temporary files, and data files that never got their manifest."""
        whole = {str(name) for name in self.pairs()}
        for entry in list(os.scandir(self.path)):
            stem, _, part = entry.name.rpartition(".")
            orphan = part in (*PARTS, STORED) and CheckpointName.parse(stem) is not None and stem not in whole
            if entry.name.startswith(TEMPORARY) or orphan:
                Path(entry.path).unlink(missing_ok=True)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def write_whole(path: Path, data: bytes, durable: bool) -> None:
    """Writes ``path`` so that a reader, or a crash, sees the old file or the new one."""
    with replacing(path, durable) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def replacing(path: Path, durable: bool) -> Iterator[Path]:
    """Gives a temporary path in the same folder; when the block ends well it becomes ``path``, else it is removed."""
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(6)}-{path.name}"
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield temporary
        if durable:
            sync_file(temporary)
        os.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def append_to(path: Path) -> IO[bytes]:
    """Opens a growing file, unbuffered."""
    return open(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600), "ab", buffering=0)


def read_regular(path: Path, most: int) -> bytes:
    """Its first ``most`` bytes. Raises OSError, and for what is no regular file too: a FIFO would keep its reader."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Sums:
    """Size and checksums of a file whose bytes come by in their order, CHUNK at a time or fewer."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._size = self._crc32 = 0

    def update(self, data: memoryview) -> None:
        self._sha256.update(data)
        self._crc32 = zlib.crc32(data, self._crc32)
        self._size += len(data)

    def read(self, file: IO[bytes], most: int = sys.maxsize) -> None:
        """Takes what comes next of an unbuffered file: to its end, or ``most`` bytes."""
        buffer = memoryview(bytearray(min(CHUNK, most)))
        while most and (count := file.readinto(buffer[: min(CHUNK, most)])):  # type: ignore[attr-defined]
            self.update(buffer[:count])
            most -= count

    def record(self) -> FileRecord:
        return FileRecord(self._size, self._sha256.hexdigest(), self._crc32)


def record_of(path: Path) -> FileRecord:
    """Size and checksums of a file as it is on disk."""
    sums = Sums()
    with path.open("rb", buffering=0) as file:
        sums.read(file)
    return sums.record()


def check_file(path: Path, record: FileRecord) -> None:
    """Raises InvalidPair unless the file has the recorded size and checksum."""
    try:
        size = path.stat().st_size
        if size != record.size:
            raise InvalidPair(f"{path.name} has {size} bytes where its manifest says {record.size}")
        if record_of(path).sha256 != record.sha256:
            raise InvalidPair(f"{path.name} differs from its checksum")
    except OSError as error:
        raise InvalidPair(f"{path.name} cannot be read: {error.strerror}") from None


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """An exclusive lock that the kernel drops when its holder dies. Raises Busy at once if another has it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"{path.parent}: another holdfast on this machine is working on this run") from None
        yield
    finally:
        os.close(descriptor)


class Progress(NamedTuple):
    """Where a training process stands; ``executed`` counts the batches that it really ran."""

    executed: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0


class Board:
    """Progress in shared memory: it costs the training nothing, and survives a SIGKILL of the process that wrote it.

    A file of four little-endian 64-bit counts, as in Progress. ``executed`` goes on over all processes that trained
    in this folder. A reader may see the counts of two neighbouring batches mixed; ``executed`` alone is always exact.
    """

    FILE = "progress"
    _LAYOUT = struct.Struct("<4q")

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, self._LAYOUT.size)
            self._memory = mmap.mmap(descriptor, self._LAYOUT.size)
        finally:
            os.close(descriptor)

    def write(self, progress: Progress) -> None:
        self._LAYOUT.pack_into(self._memory, 0, *progress)

    @classmethod
    def read(cls, path: Path) -> Progress:
        """All zero while there is no board. Reads until it sees the same twice, for a while."""
        try:
            data = path.read_bytes()
            for _ in range(5):
                before, data = data, path.read_bytes()
                if before == data:
                    break
            return Progress(*cls._LAYOUT.unpack(data))
        except (FileNotFoundError, struct.error):
            return Progress()

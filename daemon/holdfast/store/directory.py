"""A directory as the store: a mounted disk, a network share, a laptop.

The order of writes is restic's for its local backend: a temporary name in the same folder, the content, fsync, rename,
fsync of the folder. Create-only is a hard link (it fails if the name exists, also over NFS), compare-and-swap is a
rename under a lock file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import Conflict, Corrupted, NotFound, Permanent, TooLarge, Transient
from ..spool import TEMPORARY, replacing, sync_file, sync_folder
from .base import SMALL, Entry, OnSent, check_key

_LOCK = ".store-lock"
_TEMPORARY = re.compile(rf"{re.escape(TEMPORARY)}[0-9a-f]{{12}}-")
_CHUNK = 1 << 20
_TRANSIENT = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT}


class DirectoryStore:
    durable_spool = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self._home: tuple[int, int] | None = None

    @property
    def uri(self) -> str:
        return str(self._root)

    def put(self, key: str, path: Path, crc32: int | None = None, progress: OnSent | None = None) -> None:
        with _translated(key), replacing(self._made(key), durable=True) as temporary, path.open("rb") as source:
            found = 0
            with temporary.open("wb") as file:
                while chunk := source.read(_CHUNK):
                    found = zlib.crc32(chunk, found)
                    file.write(chunk)
                    _tell(progress, len(chunk))
            if crc32 is not None and found != crc32:
                raise Corrupted(f"{key}: the content of {path.name} is not what was recorded (CRC-32)")

    def create(self, key: str, data: bytes) -> str:
        with _translated(key):
            path = self._made(key)
            temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(6)}-{path.name}"
            try:
                with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                    file.write(data)
                sync_file(temporary)
                os.link(temporary, path)
                sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)
        return _tag(data)

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        path = self._path(key)
        try:
            with _translated(key), self._locked():
                if _read(path, 0)[1] != if_match:
                    raise Conflict(f"{key} was changed meanwhile")
                with replacing(path, durable=True) as temporary:
                    temporary.write_bytes(data)
        except NotFound:
            raise Conflict(f"{key} is gone") from None
        return _tag(data)

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        with _translated(key):
            data, tag = _read(self._path(key), most)
        if len(data) > most:
            raise TooLarge(f"{key} has more than {most} bytes", tag)
        return data, tag

    def fetch(self, key: str, path: Path) -> None:
        with _translated(key):
            shutil.copyfile(self._path(key), path)

    def list(self, prefix: str, shallow: bool = False) -> list[Entry]:
        folder, _, _ = prefix.rpartition("/")
        with _translated(prefix):
            found = self._walk(f"{folder}/" if folder else "", prefix, shallow)
            return sorted(found, key=lambda entry: entry.key)

    def delete(self, key: str) -> None:
        with _translated(key), contextlib.suppress(FileNotFoundError):
            self._path(key).unlink()

    def sweep(self, prefix: str) -> None:
        folder, _, _ = prefix.rpartition("/")
        with _translated(prefix):
            for path, _, names in os.walk(self._root / folder):
                for name in names:
                    key = os.path.relpath(os.path.join(path, _TEMPORARY.sub("", name)), self._root)
                    if _TEMPORARY.match(name) and key.startswith(prefix):
                        Path(path, name).unlink(missing_ok=True)

    def _walk(self, base: str, prefix: str, shallow: bool) -> Iterator[Entry]:
        try:
            entries = list(os.scandir(self._root / base))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            key = base + entry.name
            if entry.name == _LOCK or entry.name.startswith(TEMPORARY) or entry.is_symlink():
                continue
            if entry.is_dir():
                if shallow and f"{key}/".startswith(prefix):
                    yield Entry(f"{key}/", 0)
                elif f"{key}/".startswith(prefix) or prefix.startswith(f"{key}/"):
                    yield from self._walk(f"{key}/", prefix, shallow)
            elif key.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    yield Entry(key, entry.stat().st_size)

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _made(self, key: str) -> Path:
        """The path for ``key``, with its folder. A root that was there once is never made again: what stands in its
        place after it was removed or unmounted is not the store.
        """
        path = self._path(key)
        self._check_home()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileNotFoundError as error:
            raise Permanent(f"{path.parent}: no folder can be made there") from error
        self._home = _place_of(self._root)
        return path

    def _check_home(self) -> None:
        if self._home is not None and self._home != _place_of(self._root):
            raise Transient(f"{self._root} is not the folder that it was: removed, or unmounted?")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._check_home()
        descriptor = os.open(self._root / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _place_of(path: Path) -> tuple[int, int] | None:
    """Device and inode of a folder; None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(path: Path, most: int) -> tuple[bytes, str]:
    """At most one byte more than ``most``, and the tag: the content's; of a large file it is place, size and date."""
    with path.open("rb") as file:
        data = file.read(max(most, SMALL) + 1)
        status = os.fstat(file.fileno())
    if len(data) > SMALL:
        return data[: most + 1], f"large-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
    return data[: most + 1], _tag(data)


def _tell(progress: OnSent | None, count: int) -> None:
    if progress is not None:
        progress(count)


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    """The operating system's errors become the store's, here and nowhere else."""
    try:
        yield
    except FileExistsError as error:
        raise Conflict(f"{key} exists already") from error
    except FileNotFoundError as error:
        raise NotFound(f"{key} is not in the store") from error
    except OSError as error:
        kind = Transient if error.errno in _TRANSIENT else Permanent
        raise kind(f"{key or 'the store'}: {error.strerror} ({error.filename})") from error

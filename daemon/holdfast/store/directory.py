"""A directory as the store: a mounted disk, a network share, a laptop.

The order of writes is restic's for its local backend: a temporary name in the same folder, the content, fsync, rename,
fsync of the folder. Create-only is a hard link (it fails if the name exists, also over NFS), compare-and-swap is a
rename under a lock file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from ..core.errors import Conflict, Corrupted, NotFound, Permanent, TooLarge, Transient
from ..spool import TEMPORARY, replacing, sync_file, sync_folder
from .base import LOCK, SMALL, Entry, OnSent, check_key, check_prefix
from .files import a_link, inside, make_folder, open_object, place_of, read_object, tag_of
from .receiving import Bounded
from .sending import Meter

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
        meter, found = Meter(progress), 0
        with meter, _translated(key), replacing(self._made(key), durable=True) as temporary, _opened(path) as source:
            with temporary.open("wb") as file:
                while chunk := source.read(_CHUNK):
                    found = zlib.crc32(chunk, found)
                    file.write(chunk)
                    meter(len(chunk))
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
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    raise Conflict(f"{key} exists already") from None
                sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)
        return tag_of(data)

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        try:
            with _translated(key), self._locked(key) as path:
                if read_object(path, key, 0)[1] != if_match:
                    raise Conflict(f"{key} was changed meanwhile")
                with replacing(path, durable=True) as temporary:
                    temporary.write_bytes(data)
        except NotFound:
            raise Conflict(f"{key} is gone") from None
        return tag_of(data)

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        with _translated(key):
            data, tag = read_object(self._path(key), key, most)
        if len(data) > most:
            raise TooLarge(f"{key} has more than {most} bytes", tag)
        return data, tag

    def fetch(self, key: str, path: Path, most: int | None = None) -> None:
        with _translated(key), open_object(self._path(key), key) as source:
            try:
                with replacing(path, durable=False) as temporary, Bounded(temporary, key, most) as file:
                    shutil.copyfileobj(source, file, _CHUNK)
            except OSError as error:
                raise Transient(f"{path}: {error.strerror}") from error

    def list(self, prefix: str, shallow: bool = False) -> list[Entry]:
        with _translated(prefix):
            return sorted(self._walk(self._base(prefix), prefix, shallow), key=lambda entry: entry.key)

    def delete(self, key: str) -> None:
        with _translated(key), contextlib.suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
            self._path(key).unlink()

    def sweep(self, prefix: str) -> None:
        with _translated(prefix):
            self._sweep(self._base(prefix), prefix)

    def _sweep(self, base: str, prefix: str) -> None:
        for entry in self._entries(base):
            if entry.is_dir(follow_symlinks=False):
                self._sweep(f"{base}{entry.name}/", prefix)
            elif _TEMPORARY.match(entry.name) and (base + _TEMPORARY.sub("", entry.name)).startswith(prefix):
                Path(entry.path).unlink(missing_ok=True)

    def _walk(self, base: str, prefix: str, shallow: bool) -> Iterator[Entry]:
        for entry in self._entries(base):
            key = base + entry.name
            folder = f"{key}/"
            if entry.name == LOCK or entry.name.startswith(TEMPORARY):
                continue
            if entry.is_symlink() and (key.startswith(prefix) or prefix.startswith(folder)):
                raise a_link(Path(entry.path))
            if entry.is_dir(follow_symlinks=False):
                if shallow and folder.startswith(prefix):
                    yield Entry(folder, 0)
                elif folder.startswith(prefix) or prefix.startswith(folder):
                    yield from self._walk(folder, prefix, shallow)
            elif key.startswith(prefix) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    yield Entry(key, entry.stat(follow_symlinks=False).st_size)

    def _base(self, prefix: str) -> str:
        """The folder below which all keys with this prefix are."""
        folder, slash, _ = check_prefix(prefix).rpartition("/")
        if folder:
            inside(self._root, folder)
        return folder + slash

    def _entries(self, base: str) -> Iterable[os.DirEntry[str]]:
        try:
            return [*os.scandir(self._root / base)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _path(self, key: str) -> Path:
        return inside(self._root, check_key(key))

    def _made(self, key: str) -> Path:
        """The path for ``key``, with its folder. A root that was there once is never made again: what stands in its
        place after it was removed or unmounted is not the store.
        """
        path = self._path(key)
        self._check_home()
        try:
            make_folder(path.parent)
        except FileNotFoundError as error:
            raise Permanent(f"{path.parent}: no folder can be made there") from error
        self._home = place_of(self._root)
        return path

    def _check_home(self) -> None:
        if self._home is not None and self._home != place_of(self._root):
            raise Transient(f"{self._root} is not the folder that it was: removed, or unmounted?")

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        self._check_home()
        descriptor = os.open(self._root / LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield path
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A local file; that it is missing says nothing about the store."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise Transient(f"{path}: {error.strerror}") from error
    with file:
        yield file


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    """The operating system's errors become the store's, here and nowhere else."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{key} is not in the store") from error
    except OSError as error:
        kind = Transient if error.errno in _TRANSIENT else Permanent
        raise kind(f"{key or 'the store'}: {error.strerror} ({error.filename})") from error

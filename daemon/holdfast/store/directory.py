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
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..core.errors import Conflict, Corrupted, NotFound, Permanent, StoreError, TooLarge, Transient
from ..spool import replacing, whole_crc32
from .base import LOCK, SMALL, Entry, KnownParts, OnSent, check_key, check_prefix
from .directory_files import (
    entries_of,
    make_folder,
    missing_folders,
    open_object,
    opened_folder,
    opened_root,
    place_of,
    read_object,
    refuse_folder,
    refuse_link,
    remove_empty,
    removed_meanwhile,
    sweep,
    tag_of,
    written,
)
from .parts import grid
from .shared_blocks import share
from .streams import PASSING, BoundedFile, Meter, unreadable

_CHUNK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}
_AWAY = {  # a network share whose server, or whose process on this machine, does not answer
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ENOTCONN,
    errno.ESHUTDOWN,
    errno.EREMOTEIO,
}
_TRANSIENT = _FULL | _AWAY | PASSING | {errno.EBUSY, errno.ENOLCK}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class DirectoryStore:
    far = False
    durable_spool = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self._home: tuple[int, int] | None = None

    @property
    def uri(self) -> str:
        return str(self._root)

    def missing(self) -> list[Path]:
        """The store's folder and those above it that are not there yet, the deepest first. Raises StoreError."""
        with self._translated(""):
            return missing_folders(self._root)

    def unmake(self, folders: list[Path]) -> None:
        """Removes what ``missing`` gave, unless something was stored there meanwhile."""
        with contextlib.suppress(OSError):
            if folders and not [name for name in os.listdir(self._root) if name != LOCK]:
                (self._root / LOCK).unlink(missing_ok=True)
            for folder in folders:
                folder.rmdir()

    def remove_empty(self, folder: str) -> None:
        """Removes the folders of that key (which ends with '/') and below it, as far as they are empty."""
        base, _, name = check_key(folder.rstrip("/")).rpartition("/")
        with self._translated(folder), removed_meanwhile(), self._folder(base) as above:
            remove_empty(above, self._root / base, name)

    def put(
        self,
        key: str,
        path: Path,
        crc32: int | None = None,
        progress: OnSent | None = None,
        known: KnownParts | None = None,
    ) -> None:
        meter = Meter(progress)
        with (
            meter,
            self._translated(key),
            self._place(key, make=True) as (folder, name),
            written(folder, name) as file,
            _opened(path) as source,
            self._earlier(known) as earlier,
        ):
            if known is not None and earlier is not None:
                found = _put_parts(source, file, known, earlier, meter)
            else:
                found = _copy(source, file, sys.maxsize, meter)
            if crc32 is not None and found != crc32:
                raise Corrupted(f"{key}: the content of {path.name} is not what was recorded (CRC-32)")

    def create(self, key: str, data: bytes) -> str:
        with self._translated(key), self._place(key, make=True) as (folder, name):
            try:
                with written(folder, name, new=True) as file:
                    file.write(data)
            except FileExistsError:
                refuse_folder(folder, self._root / key)
                raise Conflict(f"{key} exists already") from None
        return tag_of(data)

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        try:
            with self._translated(key), self._place(key) as (folder, name), self._locked():
                with open_object(folder, self._root / key, key) as file:
                    tag = read_object(file, 0)[1]
                if tag != if_match:
                    raise Conflict(f"{key} was changed meanwhile")
                with written(folder, name) as file:
                    file.write(data)
        except NotFound:
            raise Conflict(f"{key} is gone") from None
        return tag_of(data)

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        with self._translated(key), self._object(key) as file:
            data, tag = read_object(file, most)
        if len(data) > most:
            raise TooLarge(f"{key} has more than {most} bytes", tag)
        return data, tag

    def fetch(self, key: str, path: Path, most: int | None = None) -> None:
        with self._translated(key), self._object(key) as source:
            try:
                with replacing(path, durable=False) as temporary, BoundedFile(temporary, key, most) as file:
                    shutil.copyfileobj(source, file, _CHUNK)
            except OSError as error:
                raise Transient(f"{path}: {error.strerror}") from error

    def list(self, prefix: str, shallow: bool = False) -> list[Entry]:
        base = _base(prefix)
        with self._translated(prefix), removed_meanwhile(), self._folder(base) as folder:
            found = entries_of(folder, self._root / base, base, prefix, shallow)
            return sorted(found, key=lambda entry: entry.key)
        return []

    def delete(self, key: str) -> None:
        gone = contextlib.suppress(NotFound, FileNotFoundError, IsADirectoryError)
        with self._translated(key), gone, self._place(key) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def sweep(self, prefix: str) -> None:
        base = _base(prefix)
        with self._translated(prefix), removed_meanwhile(), self._folder(base) as folder:
            sweep(folder, self._root / base, base, prefix)

    @contextlib.contextmanager
    def _folder(self, key: str, make: bool = False) -> Iterator[int]:
        """A descriptor of the folder, or of the root for an empty key."""
        self._check_home()
        path = self._root
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(opened_root(path))
            for part in key.strip("/").split("/") if key else ():
                path = path / part
                folder = stack.enter_context(opened_folder(folder, path, make))
            yield folder

    @contextlib.contextmanager
    def _place(self, key: str, make: bool = False) -> Iterator[tuple[int, str]]:
        """The folder of an object and its name there. Raises NotFound where there can be none; Permanent for a link."""
        base, _, name = check_key(key).rpartition("/")
        if make:
            self._make_home()
        try:
            with self._folder(base, make) as folder:
                refuse_link(folder, self._root / key)
                yield folder, name
        except NotADirectoryError:
            if make:
                raise
            raise NotFound(f"{key} is not in the store") from None

    @contextlib.contextmanager
    def _earlier(self, known: KnownParts | None) -> Iterator[IO[bytes] | None]:
        """The object that has some of the parts, if it is still there and can be read."""
        with contextlib.ExitStack() as stack:
            found = None
            if known is not None and known.same:
                with contextlib.suppress(StoreError, OSError):
                    found = stack.enter_context(self._object(known.source))
            yield found

    @contextlib.contextmanager
    def _object(self, key: str) -> Iterator[IO[bytes]]:
        with self._place(key) as (folder, _), open_object(folder, self._root / key, key) as file:
            yield file

    def _make_home(self) -> None:
        """Makes the root, but only once: if it is removed or unmounted later, another folder in its place is not the
        store, and what is not in it may be in the store.
        """
        self._check_home()
        try:
            make_folder(self._root)
        except FileNotFoundError as error:
            raise Permanent(f"{self._root}: no folder can be made there") from error
        self._home = place_of(self._root)

    def _check_home(self) -> None:
        if self._home is not None and self._home != place_of(self._root):
            raise Transient(f"{self._root} is not the folder that it was: removed, or unmounted?")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._folder("") as root:
            descriptor = os.open(LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        """Translates the operating system's errors into the store's. No other place does."""
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"{key} is not in the store") from error
        except OSError as error:
            if error.errno in _DENIED:
                text = f"--store {self._root}: {error.strerror} ({key}); give one that this user may read and write"
                raise Permanent(text) from error
            kind = Transient if error.errno in _TRANSIENT else Permanent
            raise kind(f"{self._root / key}: {error.strerror}") from error


def _base(prefix: str) -> str:
    """The folder below which all keys with this prefix are; with a '/' at its end, unless it is the root."""
    folder, slash, _ = check_prefix(prefix).rpartition("/")
    return folder + slash


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Opens a local file. Its errors say nothing about the store."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error
    with file:
        yield file


def _put_parts(source: IO[bytes], target: IO[bytes], known: KnownParts, earlier: IO[bytes], meter: Meter) -> int:
    """The CRC-32 of all. After the first part that cannot be shared with the earlier object, all is written."""
    sums, shares = [], True
    for part in grid(os.fstat(source.fileno()).st_size, known.parts.size):
        index, end = part.number - 1, part.first + part.size
        target.flush()
        if shares and index in known.same:
            shares = share(earlier, target, part.first, part.size, known.parts.crc32[index])
        if shares and index in known.same:
            source.seek(end)
            target.seek(end)
            meter(part.size)
            known.copied(part.size)
            sums.append((known.parts.crc32[index], part.size))
        else:
            sums.append((_copy(source, target, part.size, meter), part.size))
    return whole_crc32(sums)


def _copy(source: IO[bytes], target: IO[bytes], size: int, meter: Meter) -> int:
    """Copies what comes next, and returns its CRC-32."""
    found = 0
    while size and (chunk := _read(source, min(size, _CHUNK))):
        found = zlib.crc32(chunk, found)
        target.write(chunk)
        meter(len(chunk))
        size -= len(chunk)
    return found


def _read(source: IO[bytes], most: int) -> bytes:
    try:
        return source.read(most)
    except OSError as error:
        raise unreadable(source.name, error) from error

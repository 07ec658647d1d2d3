"""Files and folders of a directory store: private, without links, and on disk when a call returns.

Everything below the store's root is reached from the descriptor of the folder that it is in, and no step follows a
link. Another process may put a link there at any moment, so checking a path before opening it would not be enough.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from ..core.errors import NotFound, Permanent, Transient
from ..spool import TEMPORARY, sync_folder
from .base import LOCK, SMALL, Entry

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_TEMPORARY = re.compile(rf"{re.escape(TEMPORARY)}[0-9a-f]{{12}}-")


def a_link(path: Path) -> Permanent:
    return Permanent(f"{path} is a link, and a store follows none: put in its place what it points to")


def missing_folders(path: Path) -> list[Path]:
    """The folder and those above it that are not there, the deepest first."""
    missing = []
    while not path.is_dir() and path != path.parent:
        missing.append(path)
        path = path.parent
    return missing


def make_folder(path: Path) -> None:
    """Makes it and its parents, each with mode 0700, and synced to disk."""
    for folder in reversed(missing_folders(path)):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        sync_folder(folder.parent)


@contextlib.contextmanager
def opened_root(root: Path) -> Iterator[int]:
    """Opens the store's root. The user chose where it is, so links on the way there are followed.

    Raises Permanent for a file; OSError.
    """
    try:
        descriptor = os.open(root, _FOLDER)
    except NotADirectoryError:
        raise Permanent(f"--store {root}: it is not a folder; correct it") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_folder(at: int, path: Path, make: bool = False) -> Iterator[int]:
    """The folder in ``at`` that has the last name of ``path``. Raises Permanent for a link; OSError."""
    descriptor = _open_folder(at, path, make)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_folder(at: int, path: Path, make: bool) -> int:
    try:
        return os.open(path.name, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
    except NotADirectoryError:
        mode = _mode(at, path)
        if stat.S_ISLNK(mode) or stat.S_ISDIR(mode):  # the latter: it was a link a moment ago
            raise a_link(path) from None
        raise
    except FileNotFoundError:
        if not make:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(path.name, 0o700, dir_fd=at)
    os.fsync(at)
    return _open_folder(at, path, make=False)


def refuse_link(at: int, path: Path) -> None:
    """Raises Permanent if what has the last name of ``path`` in the folder ``at`` is a link."""
    if stat.S_ISLNK(_mode(at, path)):
        raise a_link(path)


def refuse_folder(at: int, path: Path) -> None:
    """Raises Permanent if a folder has the name of an object: nothing can be read there, and nothing written."""
    if stat.S_ISDIR(_mode(at, path)):
        raise Permanent(f"{path} is a folder where a file of the store should be: remove it")


def _mode(at: int, path: Path) -> int:
    """What has the last name of ``path`` in the folder ``at``; 0 if nothing has."""
    try:
        return os.stat(path.name, dir_fd=at, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def open_object(at: int, path: Path, key: str) -> IO[bytes]:
    """Opens a file of the folder ``at``. A folder is no object; a pipe or device is never waited for."""
    try:
        descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise a_link(path) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise NotFound(f"{key} is not in the store")
    raise Permanent(f"{path} is not a plain file")


def read_object(file: IO[bytes], most: int) -> tuple[bytes, str]:
    """At most one byte more than ``most``, and the tag: the content's; of a large file it is place, size and date."""
    data = file.read(max(most, SMALL) + 1)
    if len(data) > SMALL:
        status = os.fstat(file.fileno())
        return data[: most + 1], f"large-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
    return data[: most + 1], tag_of(data)


@contextlib.contextmanager
def written(at: int, name: str, new: bool = False) -> Iterator[IO[bytes]]:
    """Gives a temporary file of the folder ``at``; when the block ends well it is on disk and has the ``name``.

    With ``new`` it replaces nothing, and raises FileExistsError. Raises Transient if another machine's sweep took the
    temporary file for a left-over and removed it.
    """
    temporary = f"{TEMPORARY}{secrets.token_hex(6)}-{name}"
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600, dir_fd=at), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _give_name(at, temporary, name, new)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=at)
    os.fsync(at)


def _give_name(at: int, temporary: str, name: str, new: bool) -> None:
    try:
        if new:
            os.link(temporary, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        else:
            os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
    except FileNotFoundError:
        raise Transient(f"{name}: its temporary file was removed while it was written") from None


def tag_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def place_of(path: Path) -> tuple[int, int] | None:
    """Device and inode of a folder; None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def removed_meanwhile() -> contextlib.suppress:
    return contextlib.suppress(FileNotFoundError, NotADirectoryError)


def entries_of(folder: int, path: Path, base: str, prefix: str, shallow: bool) -> Iterator[Entry]:
    """The objects in the ``folder``, which is at ``path`` and whose keys begin with ``base``. Raises Permanent."""
    for entry in [*os.scandir(folder)]:
        key, at = base + entry.name, path / entry.name
        below = f"{key}/"
        if entry.name == LOCK or entry.name.startswith(TEMPORARY):
            continue
        if entry.is_symlink() and (key.startswith(prefix) or prefix.startswith(below)):
            raise a_link(at)
        if entry.is_dir(follow_symlinks=False):
            if shallow and below.startswith(prefix):
                yield Entry(below, 0)
            elif below.startswith(prefix) or prefix.startswith(below):
                with removed_meanwhile(), opened_folder(folder, at) as inner:
                    yield from entries_of(inner, at, below, prefix, shallow)
        elif key.startswith(prefix) and entry.is_file(follow_symlinks=False):
            with removed_meanwhile():
                status = entry.stat(follow_symlinks=False)
                yield Entry(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))


def sweep(folder: int, path: Path, base: str, prefix: str) -> None:
    """Removes what unfinished writes to keys with that ``prefix`` left."""
    for entry in [*os.scandir(folder)]:
        key, at = base + entry.name, path / entry.name
        if entry.is_dir(follow_symlinks=False):
            with removed_meanwhile(), opened_folder(folder, at) as inner:
                sweep(inner, at, f"{key}/", prefix)
        elif _TEMPORARY.match(entry.name) and (base + _TEMPORARY.sub("", entry.name)).startswith(prefix):
            with removed_meanwhile():
                os.unlink(entry.name, dir_fd=folder)


def remove_empty(above: int, path: Path, name: str) -> None:
    """Removes the folder ``name`` of ``above``, which is at ``path``, and those in it, as far as they are empty."""
    with opened_folder(above, path / name) as folder:
        for entry in [*os.scandir(folder)]:
            if entry.is_dir(follow_symlinks=False):
                remove_empty(folder, path / name, entry.name)
    with contextlib.suppress(OSError):  # something is in it
        os.rmdir(name, dir_fd=above)

"""Files and folders of a directory store: private, without links, and on disk when a call returns."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import IO

from ..core.errors import NotFound, Permanent
from ..spool import sync_folder
from .base import SMALL


def inside(root: Path, key: str) -> Path:
    """The path for ``key``, or for a folder. Raises Permanent if anything below ``root`` on the way to it is a link.

    A link would lead out of the store, or make one object of two.
    """
    path = root
    for part in key.split("/"):
        path = path / part
        if path.is_symlink():
            raise a_link(path)
    return path


def a_link(path: Path) -> Permanent:
    return Permanent(f"{path} is a link, and a store follows none: put in its place what it points to")


def make_folder(path: Path) -> None:
    """With its parents, each of them for the owner only, and remembered by the disk."""
    missing = []
    while not path.is_dir() and path != path.parent:
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        sync_folder(folder.parent)


def open_object(path: Path, key: str) -> IO[bytes]:
    """Opens a file for reading. A folder or a key below a file is no object; a pipe or device is never waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except NotADirectoryError:
        raise NotFound(f"{key} is not in the store") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise NotFound(f"{key} is not in the store")
    raise Permanent(f"{path} is not a plain file")


def read_object(path: Path, key: str, most: int) -> tuple[bytes, str]:
    """At most one byte more than ``most``, and the tag: the content's; of a large file it is place, size and date."""
    with open_object(path, key) as file:
        data = file.read(max(most, SMALL) + 1)
        status = os.fstat(file.fileno())
    if len(data) > SMALL:
        return data[: most + 1], f"large-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
    return data[: most + 1], tag_of(data)


def tag_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def place_of(path: Path) -> tuple[int, int] | None:
    """Device and inode of a folder; None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

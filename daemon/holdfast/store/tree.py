"""What a directory store has below a folder, which others change meanwhile; no link is followed."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..spool import TEMPORARY
from .base import LOCK, Entry
from .directory_files import a_link, opened_folder

_TEMPORARY = re.compile(rf"{re.escape(TEMPORARY)}[0-9a-f]{{12}}-")


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
                yield Entry(key, entry.stat(follow_symlinks=False).st_size)


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

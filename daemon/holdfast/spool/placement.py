"""Puts a file beneath a folder that the script writes to, too, without following a link on the way."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def place(root: Path, path: str, source: Path, replace: bool) -> None:
    """Moves ``source`` to ``path`` under ``root``; folders on the way are made, links on the way refused.

    Unless it may ``replace``, it leaves alone what appeared there meanwhile. Raises OSError.
    """
    *folders, name = path.split("/")
    root.mkdir(mode=0o700, exist_ok=True)
    with _inside(root, folders) as folder:
        if replace:
            os.rename(source, name, dst_dir_fd=folder)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(source, name, dst_dir_fd=folder, follow_symlinks=False)


@contextlib.contextmanager
def _inside(root: Path, folders: list[str]) -> Iterator[int]:
    """A descriptor of a folder, reached step by step, so that a link put in between cannot lead elsewhere."""
    with contextlib.ExitStack() as opened:
        descriptor = os.open(root, _FOLDER)
        opened.callback(os.close, descriptor)
        for part in folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=descriptor)
            descriptor = os.open(part, _FOLDER, dir_fd=descriptor)
            opened.callback(os.close, descriptor)
        yield descriptor

"""The ``artifacts/`` folder itself: looked at, read from, and written to, without ever following a link."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ...core.artifacts import MOST_FILES, Seen

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A name may have become a pipe since it was looked at: opening that must not wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def look(root: Path) -> dict[str, Seen | str] | None:
    """What lies under ``root``, or why it is not to be stored, by relative path; None without such a folder.

    '.' stands for what was not looked at.
    """
    if root.is_symlink():
        return {".": "artifacts/ itself is a link"}
    if not root.is_dir():
        return None
    found: dict[str, Seen | str] = {}
    for path, what in _walk(root, ""):
        if len(found) >= MOST_FILES:
            found["."] = f"there are more than {MOST_FILES} files"
            break
        found[path] = what
    return found


def _walk(root: Path, base: str) -> Iterator[tuple[str, Seen | str]]:
    try:
        entries = list(os.scandir(root / base))
    except FileNotFoundError:
        return
    except OSError as error:
        yield base.rstrip("/") or ".", f"it cannot be read: {error.strerror}"
        return
    for entry in entries:
        path = base + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, f"{path}/")
        else:
            with contextlib.suppress(FileNotFoundError):  # gone since
                yield path, _judge(entry.stat(follow_symlinks=False))


def _judge(status: os.stat_result) -> Seen | str:
    if stat.S_ISREG(status.st_mode):
        return Seen(status.st_size, status.st_mtime_ns, status.st_ino)
    return "it is a link" if stat.S_ISLNK(status.st_mode) else "it is no regular file"


def seen_at(path: Path) -> Seen | str | None:
    """As ``look``, for one path; None if nothing is there."""
    try:
        return _judge(path.lstat())
    except (FileNotFoundError, NotADirectoryError):
        return None


class Reading:
    """A file held open: ``path`` leads to this very file, even when another is renamed over its name.

    So what replaces files whole is stored whole, however long the sending takes.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.path = Path(f"/proc/self/fd/{descriptor}")
        self.seen = self.now()

    def now(self) -> Seen:
        status = os.fstat(self._descriptor)
        return Seen(status.st_size, status.st_mtime_ns, status.st_ino)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Reading | None]:
    """None if no regular file is there any more. Raises OSError if it cannot be read."""
    if not isinstance(seen_at(path), Seen):
        yield None
        return
    descriptor = os.open(path, _FILE)
    try:
        yield Reading(descriptor) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)


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

"""The ``artifacts/`` folder itself: looked at and read from, without ever following a link."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ...core.artifacts import MOST_FILES, Seen

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


class OpenFile:
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
def opened(path: Path) -> Iterator[OpenFile | None]:
    """None if no regular file is there any more. Raises OSError if it cannot be read."""
    if not isinstance(seen_at(path), Seen):
        yield None
        return
    descriptor = os.open(path, _FILE)
    try:
        yield OpenFile(descriptor) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)

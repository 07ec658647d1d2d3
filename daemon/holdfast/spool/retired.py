"""The ``.h5`` of a removed pair, kept so that the next pair's is written over it.

In a fine-tuned model nearly all of its bytes are the next one's, too. There is at most one such file, under a temporary
name: nothing takes it for a pair, and a start sweeps it away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

from .checksums import part_size_of
from .files import TEMPORARY

_NAME = f"{TEMPORARY}retired.h5"


def retire(path: Path) -> None:
    """Removes the file, if there is one, and keeps its content if it is large. What was kept before is gone then."""
    with contextlib.suppress(OSError):  # what cannot be kept is removed
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode) and part_size_of(status.st_size) is not None:
            os.rename(path, path.with_name(_NAME))
            return
    path.unlink(missing_ok=True)


def drop(folder: Path) -> bool:
    """Removes what is kept. False if there is nothing."""
    try:
        os.unlink(folder / _NAME)
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def taken(folder: Path) -> Iterator[Path | None]:
    """The path of what is kept, for this process alone, until the block ends: then it is removed, if it is still there.

    None where there is nothing, or something that may not be written over.
    """
    path = folder / f"{TEMPORARY}{secrets.token_hex(6)}-retired.h5"
    try:
        os.rename(folder / _NAME, path)
    except OSError:
        yield None
        return
    try:
        if not _is_nobody_elses(path):
            path.unlink()  # at once: the next file needs the room
            yield None
        else:
            yield path
    finally:
        path.unlink(missing_ok=True)


def _is_nobody_elses(path: Path) -> bool:
    """False where it has another name, too, or somebody has it open: who reads a pair sees no other content in it, also
    when the pair is removed meanwhile. False as well where the file system cannot tell.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_nlink != 1:
            return False
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # for who opens it just now: one that is ignored
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)  # the kernel gives it only where no one has it open
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True

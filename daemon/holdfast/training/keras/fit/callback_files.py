"""The files under the run's ``artifacts/`` that callbacks write, and that their state is about: a best model's, say."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_MOST_OF_ONE_NAME = 10
_FIELD = re.compile(r"{[^{}]*}")


def artifacts_of(callbacks: Iterable[Any], folder: Path) -> tuple[str, ...]:
    """Those that an attribute of a callback names, by their paths in ``folder``.

    A name with fields (``{epoch:02d}.keras``) stands for the newest files that have such a name.
    """
    root = os.path.realpath(folder)
    if not os.path.isdir(root):
        return ()
    names = {
        value for callback in callbacks for value in vars(callback).values() if isinstance(value, str | os.PathLike)
    }
    found = {file for name in names for file in _files(os.fspath(name), root)}
    return tuple(sorted(os.path.relpath(file, root) for file in found))


def _files(name: str | bytes, root: str) -> list[str]:
    if not isinstance(name, str) or not name or "\0" in name:
        return []
    file = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
    if not file.startswith(root + os.sep):
        return []
    if not _FIELD.search(file):
        return [file] if os.path.isfile(file) else []
    pattern = "*".join(map(glob.escape, _FIELD.split(file)))
    return sorted(filter(os.path.isfile, glob.iglob(pattern)), key=_written)[-_MOST_OF_ONE_NAME:]


def _written(file: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(file).st_mtime_ns
    return 0

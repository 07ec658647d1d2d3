"""The files under the run's ``artifacts/`` that callbacks write, and that their state is about: a best model's, say."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_MOST_OF_ONE_NAME, _MOST_LOOKED_AT = 10, 1000
_FIELD = re.compile(r"{[^{}]*}")


def artifacts_of(callbacks: Iterable[Any], folder: Path) -> tuple[str, ...]:
    """Those that an attribute of a callback names, by their paths in ``folder``.

    A name with fields (``{epoch:02d}.keras``) stands for the newest files that have such a name, and a folder (of
    TensorBoard's, say) for the newest ones in it.
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
    if os.path.isdir(file):
        return _newest(itertools.islice(_within(file), _MOST_LOOKED_AT))
    if not _FIELD.search(file):
        return [file] if os.path.isfile(file) else []
    return _newest(glob.iglob("*".join(map(glob.escape, _FIELD.split(file)))))


def _within(folder: str) -> Iterator[str]:
    for above, _, names in os.walk(folder):
        yield from (os.path.join(above, name) for name in names)


def _newest(files: Iterable[str]) -> list[str]:
    return sorted(filter(os.path.isfile, files), key=_written)[-_MOST_OF_ONE_NAME:]


def _written(file: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(file).st_mtime_ns
    return 0

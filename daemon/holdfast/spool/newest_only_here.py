"""Is the newest state of a run on this machine only? If so, terminating the machine would lose it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..core.checkpoint_name import CheckpointName
from ..core.runs import RunId
from .folder import STORED


def only_here(work_dir: Path, name: str) -> Path | None:
    """The path, without an ending, of a run's newest usable pair in its folder, if it is not noted as stored.

    ``name`` is a run id, or a name for the newest run of it. Reads names only, and asks no store.
    """
    folder = _folder(work_dir, name)
    names: set[str] = set()
    with contextlib.suppress(OSError):
        names = {entry.name for entry in os.scandir(folder)} if folder else set()
    pairs = [pair for file in names if (pair := CheckpointName.of_manifest_file(file)) is not None and pair.finite]
    newest = max(pairs, key=lambda pair: pair.order, default=None)
    if folder is None or newest is None or newest.file(STORED) in names:
        return None
    return folder / str(newest)


def _folder(work_dir: Path, name: str) -> Path | None:
    found: dict[RunId, Path] = {}
    with contextlib.suppress(OSError):
        for folder in work_dir.iterdir():
            run = RunId.parse(folder.name)
            if run is not None and name in (run.name, str(run)):
                found[run] = folder
    return found[max(found)] if found else None

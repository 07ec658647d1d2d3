"""One run's folder: its pairs, its lock, and what a killed process left in it."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from ..core.checkpoint_name import CheckpointName
from ..core.errors import SettingsError
from ..core.manifest import PARTS, Manifest
from . import retired
from .checksums import check_file
from .files import TEMPORARY, file_lock, sync_folder, write_whole
from .progress_board import Board

STORED = "stored"
LOG_FILE = "log.txt"
_ID = re.compile(rb"[0-9a-f]{32}")
_UNFINISHED = re.compile(re.escape(TEMPORARY) + r"[0-9a-f]{12}-(model-.*|retired\.h5)")


class Spool:
    """One run's folder. ``path`` is made if it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def run(self) -> str:
        return self.path.name

    def file(self, name: str) -> Path:
        return self.path / name

    def identity(self) -> str:
        """A random id, made once. Only a process that holds this folder's lock may use it.

        The file's inode and the machine's boot id are part of it, so a copy of the folder (in a disk image, say) has
        another one.
        """
        path = self.file(".spool-id")
        if not path.exists() or not _ID.fullmatch(path.read_bytes()):
            write_whole(path, secrets.token_hex(16).encode(), durable=True)
        return f"{path.read_text()}-{path.stat().st_ino}-{_boot_id()}"

    def check(self) -> None:
        """Raises SettingsError if the files that a training writes all the time cannot be read and written."""
        for path in (self.file(Board.FILE), self.file(LOG_FILE)):
            writable = path.is_file() and os.access(path, os.R_OK | os.W_OK)
            if os.path.lexists(path) and not writable:
                raise SettingsError(f"--work-dir: {path} is not a file that this user may read and write: move it away")

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Held while a process works on this folder. Raises Busy when another one does."""
        return file_lock(self.file(".lock"))

    def pairs(self) -> list[CheckpointName]:
        """The pairs with a manifest, newest first."""
        names = (CheckpointName.of_manifest_file(entry.name) for entry in os.scandir(self.path))
        return sorted((n for n in names if n is not None), key=lambda n: n.order, reverse=True)

    def manifest(self, name: CheckpointName) -> Manifest:
        """Raises InvalidPair; FileNotFoundError if there is no such pair."""
        return Manifest.from_json(self.file(name.file("json")).read_bytes(), name)

    def verify(self, manifest: Manifest) -> None:
        """Rereads every byte. Raises InvalidPair if a file is missing or differs from its record."""
        for part, record in manifest.files.items():
            check_file(self.file(manifest.name.file(part)), record)

    def commit(self, manifest: Manifest, durable: bool) -> None:
        """Makes the pair exist: its data files are in place, the manifest comes last."""
        if durable:
            sync_folder(self.path)
        write_whole(self.file(manifest.name.file("json")), manifest.to_json(), durable)

    def remove(self, name: CheckpointName) -> None:
        """Removes the manifest first, so that what is left is not taken for a pair."""
        for part in ("json", *PARTS, STORED):
            self.file(name.file(part)).unlink(missing_ok=True)

    def retire(self, name: CheckpointName) -> None:
        """Removes the pair, whose content is good, and keeps a large ``.h5`` for the next one (``retired.py``)."""
        self.file(name.file("json")).unlink(missing_ok=True)
        retired.retire(self.file(name.file("h5")))
        self.remove(name)

    def retired(self) -> contextlib.AbstractContextManager[Path | None]:
        """The path of a retired file that may be written over within the block, and renamed there; None without one."""
        return retired.taken(self.path)

    def drop_retired(self) -> bool:
        """Makes room: a retired file is of use, but nothing is lost with it. False if there is none."""
        return retired.drop(self.path)

    def mark_stored(self, name: CheckpointName) -> None:
        """Notes that the store has the pair: it may be deleted here when the disk is full."""
        self.file(name.file(STORED)).touch(mode=0o600)

    def unmark_stored(self, names: Iterable[CheckpointName]) -> None:
        """Removes these notes: it is unknown which store they are about, or the store has lost the pairs."""
        for name in names:
            self.file(name.file(STORED)).unlink(missing_ok=True)

    def stored(self) -> list[CheckpointName]:
        """The pairs here that are known to be in the store, newest first."""
        return [name for name in self.pairs() if self.file(name.file(STORED)).exists()]

    def free(self) -> int:
        """Bytes that are free on the disk."""
        return shutil.disk_usage(self.path).free

    def sweep_unfinished(self) -> None:
        """Removes what a killed training was writing. Nobody else may write a pair here just now."""
        for entry in list(os.scandir(self.path)):
            if _UNFINISHED.match(entry.name):
                Path(entry.path).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Removes what a killed process left: temporary files, and data files without a manifest."""
        whole = {str(name) for name in self.pairs()}
        for entry in list(os.scandir(self.path)):
            stem, _, part = entry.name.rpartition(".")
            orphan = part in (*PARTS, STORED) and CheckpointName.parse(stem) is not None and stem not in whole
            if entry.name.startswith(TEMPORARY) or orphan:
                Path(entry.path).unlink(missing_ok=True)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"

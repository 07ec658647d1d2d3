"""A run in a store, filled by what tests need: pairs with metrics, damage, orphans, logs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fakes.pairs import name_of, save_pair
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.manifest import Manifest
from holdfast.core.runs import COMPLETE_FILE, LEASE_FILE, RUN_FILE, RunId
from holdfast.spool import Spool, record_of
from holdfast.store import Store
from holdfast.store.catalog import read_contents
from holdfast.store.contents import Contents
from holdfast.supervisor.upload.store_pair import store_pair

__all__ = ["Run", "name_of"]

DIGITS = RunId(1, "digits")


class Run:
    """One run of ``store``; ``folder`` is for files on their way."""

    def __init__(self, store: Store, folder: Path, run: RunId = DIGITS) -> None:
        self.store = store
        self.id = run
        self._spool = Spool(folder / str(run))
        store.create(f"{run}/{RUN_FILE}", b"{}")

    def contents(self) -> Contents:
        return read_contents(self.store, self.id)

    def names(self) -> list[CheckpointName]:
        return [listed.name for listed in self.contents().pairs]

    def key(self, name: CheckpointName, part: str) -> str:
        return f"{self.id}/{name.file(part)}"

    def pair(
        self, name: CheckpointName, metrics: Mapping[str, float] = {}, kind: str = "model", h5: bytes | None = None
    ) -> Manifest:
        """Stores a pair as an uploader does."""
        manifest = save_pair(self._spool, name)
        if h5 is not None:
            self._spool.file(name.file("h5")).write_bytes(h5)
        files = {part: record_of(self._spool.file(name.file(part))) for part in manifest.files}
        manifest = replace(manifest, metrics=metrics, kind=kind, files=files)
        self._spool.commit(manifest, durable=False)
        store_pair(self.store, self._spool, name)
        self._spool.remove(name)
        return manifest

    def pairs(self, *saves: int, incarnation: int = 1) -> list[CheckpointName]:
        return [self.pair(name_of(save, incarnation)).name for save in saves]

    def damage(self, name: CheckpointName, part: str, data: bytes | None = b"rot") -> None:
        """Replaces a file of a pair; None removes it."""
        self.store.delete(self.key(name, part))
        if data is not None:
            self.store.create(self.key(name, part), data)

    def flip(self, name: CheckpointName, part: str = "h5") -> None:
        """One bit of a file is another; its size is the same."""
        data, _ = self.store.get(self.key(name, part))
        self.damage(name, part, bytes([data[0] ^ 1]) + data[1:])

    def orphan(self, name: CheckpointName) -> CheckpointName:
        """Data without a manifest."""
        self.pair(name)
        self.damage(name, "json", None)
        return name

    def file(self, key: str, data: bytes) -> None:
        self.store.create(f"{self.id}/{key}", data)

    def lease(self, state: str) -> None:
        self.store.delete(f"{self.id}/{LEASE_FILE}")
        self.file(LEASE_FILE, json.dumps({"state": state, "incarnation": 2}).encode())

    def finish(self) -> None:
        self.file(COMPLETE_FILE, b"{}")

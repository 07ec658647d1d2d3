"""Which run to continue, which pair is the newest valid one, and bringing that pair to this machine."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from ..core.errors import Conflict, InvalidPair, NotFound, NoValidPair, SettingsError
from ..core.manifest import CheckpointName, Manifest
from ..core.runs import RunId, check_name, next_id
from ..spool import Spool, check_file, replacing
from ..store import Store

RUN_FILE = "run.json"
LEASE_FILE = "lease.json"
COMPLETE_FILE = "complete.json"

Warn = Callable[[str], None]


def find_run(store: Store, name: str, extend: bool) -> tuple[RunId, bool]:
    """The run to continue and whether it is complete: the newest of that name, else a new one.

    ``name`` may also be a whole run id, which then must exist. Raises SettingsError and StoreError.
    """
    given = RunId.parse(name)
    runs = list_runs(store)
    if given is not None:
        if given not in runs:
            raise SettingsError(f"--run {name}: there is no such run in the store; give a name to start a new one")
        return given, not extend and is_complete(store, given)
    check_name(name)
    same = max((run for run in runs if run.name == name), default=None)
    if same is not None:
        return same, not extend and is_complete(store, same)
    return allot(store, name, runs, join=True), False


def list_runs(store: Store) -> list[RunId]:
    folders = (RunId.parse(entry.key.rstrip("/")) for entry in store.list("", shallow=True) if entry.key.endswith("/"))
    return [run for run in folders if run is not None]


def allot(store: Store, name: str, existing: Iterable[RunId], join: bool) -> RunId:
    """Makes the next run by a create-only write.

    When another process was faster with the same id, ``join`` takes part in its run; else the next number is tried.
    """
    taken = list(existing)
    while True:
        run = next_id(name, taken)
        document = {"format": 1, "run": str(run), "created": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            store.create(f"{run}/{RUN_FILE}", json.dumps(document).encode())
        except Conflict:
            if not join:
                taken.append(run)
                continue
        return run


def is_complete(store: Store, run: RunId) -> bool:
    try:
        store.get(f"{run}/{COMPLETE_FILE}")
    except NotFound:
        return False
    return True


def list_pairs(store: Store, run: str) -> list[CheckpointName]:
    """All pairs of a run that have a manifest, newest first; reads the listing only."""
    keys = (entry.key.removeprefix(f"{run}/") for entry in store.list(f"{run}/model-"))
    names = (CheckpointName.of_manifest_file(key) for key in keys)
    return sorted((name for name in names if name is not None), key=lambda name: name.order, reverse=True)


@dataclass(frozen=True)
class Candidates:
    """The pairs of a run, here and in the store."""

    stored: tuple[CheckpointName, ...]
    local: tuple[CheckpointName, ...]

    @property
    def newest_first(self) -> list[CheckpointName]:
        return sorted({*self.stored, *self.local}, key=lambda name: name.order, reverse=True)

    @property
    def owed(self) -> list[CheckpointName]:
        """Pairs on this machine that are newer than all that the store has."""
        newest = max((name.order for name in self.stored), default=(0, 0))
        return [name for name in self.local if name.order > newest and name not in self.stored]

    @property
    def incarnation(self) -> int:
        return max((name.incarnation for name in self.newest_first), default=0)

    @property
    def next_save(self) -> int:
        return max((name.save for name in self.newest_first), default=0) + 1


def candidates(store: Store, spool: Spool) -> Candidates:
    return Candidates(tuple(list_pairs(store, spool.run)), tuple(spool.pairs()))


def bring_newest(store: Store, spool: Spool, found: Candidates, warn: Warn) -> Manifest | None:
    """Makes the newest valid pair present and whole in the spool; None if the run has no pairs at all.

    A pair that is damaged, or whose loss is not finite, is reported and passed over. Raises NoValidPair if no other is
    left, for a training must not silently start over; StoreError if the store fails.
    """
    for name in found.newest_first:
        if not name.finite:
            warn(f"{name}: passed over, its loss is not finite")
            continue
        try:
            return _here(spool, name) if name in found.local else _bring(store, spool, name)
        except InvalidPair as error:
            warn(f"{name}: passed over: {error}")
        if name in found.local and name in found.stored:
            try:
                return _bring(store, spool, name)
            except InvalidPair as error:
                warn(f"{name}: passed over: {error}")
    if found.newest_first:
        raise NoValidPair(
            f"run {spool.run} has {len(found.newest_first)} checkpoints and none of them is valid: nothing started. "
            "Look at them with the store's own tools, or begin anew under another --run name"
        )
    return None


def newest_here(spool: Spool, resume: Manifest | None, next_save: int) -> tuple[Manifest | None, int]:
    """The newest valid pair in the spool, and the next save number, since ``resume`` was brought."""
    names = spool.pairs()
    next_save = max([next_save, *(name.save + 1 for name in names)])
    for name in names:
        if resume is not None and name.order <= resume.name.order:
            break
        with contextlib.suppress(InvalidPair):
            if name.finite:
                return _here(spool, name), next_save
    return resume, next_save


def is_whole(spool: Spool, name: CheckpointName) -> bool:
    """Is the pair in the spool, and undamaged?"""
    try:
        _here(spool, name)
    except InvalidPair:
        return False
    return True


def _here(spool: Spool, name: CheckpointName) -> Manifest:
    try:
        manifest = spool.manifest(name)
    except OSError as error:
        raise InvalidPair(f"the manifest in the work dir cannot be read: {error.strerror}") from None
    spool.verify(manifest)
    return manifest


def _bring(store: Store, spool: Spool, name: CheckpointName) -> Manifest:
    manifest = read_manifest(store, spool.run, name)
    for part, record in manifest.files.items():
        with replacing(spool.file(name.file(part)), durable=False) as temporary:
            try:
                store.fetch(f"{spool.run}/{name.file(part)}", temporary)
            except NotFound:
                raise InvalidPair(f"its .{part} is not in the store") from None
            check_file(temporary, record)
    spool.commit(manifest, durable=False)
    return manifest


def read_manifest(store: Store, run: str, name: CheckpointName) -> Manifest:
    """Raises InvalidPair if the manifest is damaged, or another run's."""
    try:
        manifest = Manifest.from_json(store.get(f"{run}/{name.file('json')}")[0], name)
    except NotFound:
        raise InvalidPair("its manifest is gone from the store") from None
    if manifest.run != run:
        raise InvalidPair(f"it belongs to run {manifest.run}")
    return manifest

"""The runs and checkpoints that a store holds: how they are found, begun, read and removed.

Listings are enough for finding and ordering; a manifest is read only where its content matters.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..core.checkpoint_name import CheckpointName
from ..core.errors import Conflict, InvalidPair, NotFound, SettingsError, TooLarge
from ..core.manifest import PARTS, Manifest
from ..core.runs import COMPLETE_FILE, LEASE_FILE, RUN_FILE, RunId, check_name, next_id
from .base import Store
from .contents import Contents, Listed, contents_of

MOST_MANIFESTS = 200
_READERS = 8


@dataclass(frozen=True)
class FoundRun:
    """``begun`` is the run's ``run.json`` if this very call began the run: nothing else can be in it yet."""

    run: RunId
    begun: bytes | None = None


def find_run(store: Store, name: str, before: Callable[[RunId], None] = lambda run: None) -> FoundRun:
    """The run to continue: the newest of that name, else a new one.

    ``name`` may also be a whole run id, which then must exist. ``before`` may refuse a new run before it is made.
    Raises SettingsError and StoreError.
    """
    given = RunId.parse(name)
    runs = list_runs(store)
    if given is not None:
        if given not in runs:
            raise SettingsError(f"--run {name}: there is no such run in the store; give a name to start a new one")
        return FoundRun(given)
    check_name(name)
    same = newest_called(runs, name)
    if same is not None:
        return FoundRun(same)
    before(next_id(name, runs))
    return _allot(store, name, runs, join=True)


def newest_called(runs: Iterable[RunId], name: str) -> RunId | None:
    """The newest of that name, or the one whose id it is."""
    given = RunId.parse(name)
    return max((run for run in runs if run == given or run.name == name), default=None)


def list_runs(store: Store) -> list[RunId]:
    folders = (RunId.parse(entry.key.rstrip("/")) for entry in store.list("", shallow=True) if entry.key.endswith("/"))
    return [run for run in folders if run is not None]


def existing_run(store: Store, text: str) -> RunId:
    """The run that ``text`` means: a whole run id, or the newest run of that name.

    Raises SettingsError if there is none; StoreError.
    """
    runs = list_runs(store)
    found = newest_called(runs, text)
    if found is None:
        names = sorted({run.name for run in runs})
        there = f"it has {', '.join(names[:5])}{' …' if len(names) > 5 else ''}" if names else "it has no runs at all"
        raise SettingsError(f"there is no run {text!r} in {store.uri}; {there}")
    return found


def newest_run(store: Store) -> RunId:
    """The run that was begun last, whatever its name. Raises SettingsError if there is none; StoreError."""
    runs = list_runs(store)
    if not runs:
        raise SettingsError(f"there are no runs in {store.uri}; correct --store, or begin one with holdfast run")
    return max(runs)


def read_contents(store: Store, run: RunId) -> Contents:
    """What the run has, from one listing."""
    return contents_of(run, store.list(f"{run}/"))


def is_held(store: Store, run: RunId) -> bool:
    """Does the run's lease name a holder? That one may be dead: only waiting for the lease shows it."""
    try:
        document = json.loads(store.get(f"{run}/{LEASE_FILE}")[0])
    except NotFound:
        return False
    except (ValueError, RecursionError, TooLarge):
        return True
    return not isinstance(document, dict) or document.get("state") != "released"


def allot(store: Store, name: str, existing: Iterable[RunId], join: bool) -> RunId:
    """Makes the next run by a create-only write.

    When another process was faster with the same id, ``join`` returns its run; otherwise the next number is tried.
    """
    return _allot(store, name, existing, join).run


def _allot(store: Store, name: str, existing: Iterable[RunId], join: bool) -> FoundRun:
    taken = list(existing)
    while True:
        run = next_id(name, taken)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        document = {"format": 1, "run": str(run), "created": created, "id": secrets.token_hex(16)}
        data = json.dumps(document).encode()
        try:
            store.create(f"{run}/{RUN_FILE}", data)
        except Conflict:
            if not join:
                taken.append(run)
                continue
            return FoundRun(run)
        return FoundRun(run, data)


def birth(store: Store, run: RunId) -> dict[str, Any]:
    """The run's ``run.json``, written when it was begun; empty if that is missing or damaged. Raises StoreError."""
    try:
        document = json.loads(store.get(f"{run}/{RUN_FILE}")[0])
    except (NotFound, ValueError, RecursionError, TooLarge):
        return {}
    return document if isinstance(document, dict) else {}


def identity_of(store: Store, run: RunId) -> str | None:
    """A value that differs from run to run, also between stores, and if a store was lost and made again.

    For runs of early versions, which have no id of their own, it is the time of their beginning. None if that is
    unknown too.
    """
    document = birth(store, run)
    found = document.get("id", document.get("created"))
    return found if isinstance(found, str) and found else None


def is_complete(store: Store, run: RunId) -> bool:
    return exists(store, f"{run}/{COMPLETE_FILE}")


def exists(store: Store, key: str) -> bool:
    """Is there an object of that key, whatever it holds?"""
    try:
        store.get(key)
    except NotFound:
        return False
    except TooLarge:
        pass
    return True


def list_pairs(store: Store, run: str) -> list[CheckpointName]:
    """All pairs of a run that have a manifest, newest first; reads the listing only."""
    keys = (entry.key.removeprefix(f"{run}/") for entry in store.list(f"{run}/model-"))
    names = (CheckpointName.of_manifest_file(key) for key in keys)
    return sorted((name for name in names if name is not None), key=lambda name: name.order, reverse=True)


def read_manifest(store: Store, run: str, name: CheckpointName) -> Manifest:
    """Raises InvalidPair if the manifest is damaged, or another run's."""
    try:
        manifest = Manifest.from_json(store.get(f"{run}/{name.file('json')}")[0], name)
    except NotFound:
        raise InvalidPair("its manifest is gone from the store") from None
    except TooLarge as error:
        raise InvalidPair(f"its manifest is too large: {error}") from None
    except InvalidPair as error:
        raise error.of(name) from None
    if manifest.run != run:
        raise InvalidPair(f"it belongs to run {manifest.run}")
    return manifest


def remove_pair(store: Store, run: str, name: CheckpointName) -> None:
    """Removes the manifest first: files without a manifest are no pair."""
    for part in ("json", *PARTS):
        store.delete(f"{run}/{name.file(part)}")


def newest_manifests(store: Store, contents: Contents) -> dict[CheckpointName, Manifest | str]:
    """Those of the newest MOST_MANIFESTS pairs; of an unusable one, what is wrong with it. Raises StoreError."""

    def manifest(listed: Listed) -> Manifest | str:
        try:
            return read_manifest(store, str(contents.run), listed.name)
        except InvalidPair as error:
            return str(error)

    newest = contents.pairs[:MOST_MANIFESTS]
    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip((listed.name for listed in newest), pool.map(manifest, newest), strict=True))

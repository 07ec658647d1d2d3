"""``--from RUN@STEP``: a run resumes from a checkpoint of another run (a fork) or from an older one of its own.

The checkpoint is copied into the run as its newest pair, so nothing is deleted and the order of pairs stays what it is.
It is fetched and checked before a run is allotted for it: an unusable source leaves nothing behind. It is done
once: a mark in the store says so, and the same command started again just resumes the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.checkpoint_name import CheckpointName
from ...core.errors import InvalidPair, SettingsError
from ...core.manifest import Manifest
from ...core.runs import ForkSource, RunId
from ...spool import Spool
from ...store import Store
from ...store.catalog import list_runs, newest_called, read_contents
from ...store.contents import Listed
from ...store.download import bring, look_up

_MARK = "from-"


@dataclass(frozen=True)
class Found:
    """The checkpoints of ``run`` at the step that is meant, newest first: a step may have been saved more than once."""

    run: RunId
    pairs: tuple[Listed, ...]

    def __str__(self) -> str:
        return f"{self.run}@{self.pairs[0].name.step}"

    @property
    def mark(self) -> str:
        """The object in the run's folder that says that this was done, however it was spelled."""
        return f"{_MARK}{self}.json"


@dataclass(frozen=True)
class Fork:
    """The checkpoint to resume from, whole, in a spool of its own."""

    found: Found
    spool: Spool
    manifest: Manifest
    needed: Mapping[CheckpointName, Manifest]


def done_before(store: Store, source: ForkSource, target: str) -> str | None:
    """The mark that says that the run ``target`` continued from there before.

    A name stands for whichever run had it then: the same command does the same thing once, though that name has a newer
    run by now.
    """
    there = newest_called(list_runs(store), target)
    if there is None:
        return None
    prefix = f"{there}/{_MARK}"
    for entry in store.list(prefix):
        run, _, step = entry.key.removeprefix(prefix).removesuffix(".json").rpartition("@")
        if str(source) == f"{run}@{step}":  # spelled as it was given, by early versions
            return entry.key
        found = RunId.parse(run)
        if found is not None and step.isdecimal() and source.means(found, int(step)):
            return entry.key
    return None


def locate(store: Store, source: ForkSource) -> Found:
    """The checkpoint that is meant. Raises SettingsError if there is none that a training could resume from."""
    run = newest_called(list_runs(store), source.run)
    if run is None:
        raise SettingsError(f"--from {source}: there is no run {source.run!r} in the store (holdfast ls lists them)")
    pairs = read_contents(store, run).pairs
    meant = tuple(one for one in pairs if one.name.step == source.step)
    if not meant:
        nearest = sorted({one.name.step for one in pairs}, key=lambda step: abs(step - source.step))[:3]
        hint = f"the nearest steps are {', '.join(map(str, sorted(nearest)))}" if nearest else "it has no checkpoints"
        raise SettingsError(f"--from {source}: {run} has no checkpoint at step {source.step}; {hint}")
    finite = tuple(one for one in meant if one.name.finite)
    if not finite:
        raise SettingsError(f"--from {source}: that checkpoint's loss is not finite; give an earlier step")
    return Found(run, finite)


@contextlib.contextmanager
def waiting_room(work_dir: Path, found: Found, target: str) -> Iterator[Spool]:
    """A folder for the checkpoint until its run has it. What a killed process left there is used by the next.

    Raises Busy while another process does the same.
    """
    spool = Spool(work_dir / f".from-{found}-to-{target}")
    with spool.lock():
        try:
            yield spool
        finally:
            shutil.rmtree(spool.path, ignore_errors=True)


def fetch(store: Store, source: ForkSource, found: Found, spool: Spool) -> Fork:
    """Brings the newest of the checkpoints that is whole. Raises SettingsError if none is; StoreError."""
    why = ""
    for listed in found.pairs:
        try:
            manifest = bring(store, found.run, listed, spool, durable=store.durable_spool).manifest
            return Fork(found, spool, manifest, _bring_needed(store, found.run, manifest, spool))
        except InvalidPair as error:
            why = why or str(error)
    raise SettingsError(f"--from {source}: that checkpoint cannot be used: {why}")


def _bring_needed(store: Store, run: RunId, manifest: Manifest, spool: Spool) -> dict[CheckpointName, Manifest]:
    """The pairs that it needs, as far as they are whole: where one is not, its training will begin anew."""
    found = {}
    for name in manifest.needs:
        with contextlib.suppress(InvalidPair):
            found[name] = bring(store, run, look_up(store, run, name), spool, durable=store.durable_spool).manifest
    return found


def adopt(fork: Fork, spool: Spool, incarnation: int, save: int, durable: bool) -> list[Manifest]:
    """Moves the checkpoint into the run's spool as its newest pair, the last of those returned; before it what it
    needs.

    A ``.pkl`` names a needed pair by its place among the manifest's ``needs``, so they may have other names here.
    """
    oldest_first = [fork.needed[name] for name in sorted(fork.needed, key=lambda name: name.order)]
    names: dict[CheckpointName, CheckpointName] = {}
    adopted = []
    for number, old in enumerate([*oldest_first, fork.manifest]):
        name = names[old.name] = replace(old.name, incarnation=incarnation, save=save + number)
        for part in old.files:
            os.rename(fork.spool.file(old.name.file(part)), spool.file(name.file(part)))
        needs = tuple(names.get(one, replace(one, incarnation=0)) for one in old.needs)  # none has incarnation 0
        manifest = replace(old, name=name, run=spool.run, reason=f"from {fork.found}", needs=needs)
        spool.commit(manifest, durable)
        adopted.append(manifest)
    return adopted


def note(store: Store, run: RunId, found: Found, adopted: Manifest) -> None:
    """Marks it as done. Raises Conflict if it was done before."""
    document = {"format": 1, "checkpoint": str(adopted.name), "reason": adopted.reason}
    store.create(f"{run}/{found.mark}", json.dumps(document).encode())

"""``--from RUN@STEP``: a run goes on from a checkpoint of another run (a fork) or from an older one of its own.

The checkpoint is copied into the run as its newest pair, so nothing is deleted and the order of pairs stays what it is.
It is done once: a mark in the store says so, and the same command started again just goes on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from ..core.errors import InvalidPair, SettingsError
from ..core.manifest import Manifest
from ..core.runs import RunId, check_name
from ..spool import Spool
from ..store import Store
from ..store.catalog import exists, list_runs, newest_called, read_contents
from ..store.contents import Listed
from .fetching import bring


@dataclass(frozen=True)
class Source:
    """The ``step`` of a ``run``, which is a run id or a name."""

    run: str
    step: int

    @classmethod
    def parse(cls, text: str) -> Source:
        """Raises SettingsError unless ``text`` is RUN@STEP."""
        run, _, step = text.rpartition("@")
        if not run or not step.isdecimal() or len(step) > 15:
            raise SettingsError(f"--from {text!r}: give RUN@STEP, as in 00001-digits@940 (holdfast ls shows the steps)")
        if RunId.parse(run) is None:
            check_name(run, "--from")
        return cls(run, int(step))

    def __str__(self) -> str:
        return f"{self.run}@{self.step}"

    @property
    def mark(self) -> str:
        """The object in the run's folder that says that this was done."""
        return f"from-{self}.json"


@dataclass(frozen=True)
class Found:
    """The checkpoints of ``run`` at the step that is meant, newest first: a step may have been saved more than once."""

    run: RunId
    pairs: tuple[Listed, ...]


def locate(store: Store, source: Source, target: str) -> Found | None:
    """The checkpoint that is meant; None if the run ``target`` went on from it before.

    Raises SettingsError if there is none that a training could go on from.
    """
    runs = list_runs(store)
    there = newest_called(runs, target)
    if there is not None and exists(store, f"{there}/{source.mark}"):
        return None
    run = newest_called(runs, source.run)
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


def adopt(store: Store, spool: Spool, source: Source, found: Found, incarnation: int, save: int) -> Manifest:
    """Copies the checkpoint into the spool, as this run's newest pair. Raises SettingsError if it is damaged."""
    told = ""
    for listed in found.pairs:
        try:
            return _copy(store, spool, source, found.run, listed, incarnation, save)
        except InvalidPair as error:
            told = told or str(error)
    raise SettingsError(f"--from {source}: that checkpoint is no good: {told}")


def _copy(
    store: Store, spool: Spool, source: Source, run: RunId, listed: Listed, incarnation: int, save: int
) -> Manifest:
    name = replace(listed.name, incarnation=incarnation, save=save)

    def adapted(manifest: Manifest) -> Manifest:
        return replace(manifest, name=name, run=spool.run, reason=f"from {run}@{source.step}")

    return bring(store, run, listed, spool, adapted, durable=store.durable_spool).manifest


def note(store: Store, run: RunId, source: Source, adopted: Manifest) -> None:
    """Marks it as done. Raises Conflict if it was done before."""
    document = {"format": 1, "checkpoint": str(adopted.name), "reason": adopted.reason}
    store.create(f"{run}/{source.mark}", json.dumps(document).encode())

"""Retention in the store: which pairs and which left-over data may go, and their removal.

It may run during a training. It removes only what was in its first listing, and never the newest valid pair. Data
without a manifest is removed only if it is of an older incarnation than the newest, and only while no machine holds the
run's lease: it may belong to an upload, also to one of pairs that an earlier incarnation left on a machine's disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ..core.checkpoint_name import CheckpointName
from ..core.errors import InvalidPair, SettingsError
from ..core.manifest import Manifest
from ..core.policy import Best, Retention
from ..store import Store
from ..store.catalog import is_held, remove_pair
from ..store.contents import Contents, Listed
from ..store.download import Advance, manifest_of
from .verify import newest_valid

Warn = Callable[[str], None]
_READERS = 8


@dataclass(frozen=True)
class Pruning:
    """What to remove, oldest first. ``held_orphans`` would be removed if no machine held the run's lease."""

    pairs: tuple[Listed, ...]
    orphans: tuple[Listed, ...]
    held_orphans: tuple[Listed, ...] = ()

    @property
    def size(self) -> int:
        """Bytes, with the manifests."""
        return sum(listed.whole_size for listed in (*self.orphans, *self.pairs))


def plan(store: Store, contents: Contents, retention: Retention, folder: Path, warn: Warn, advance: Advance) -> Pruning:
    """Decides; removes nothing. ``folder`` takes one file at a time. Raises SettingsError and StoreError.

    A pair that is known to be damaged is not counted, so that it displaces no valid one. It is kept, so that a person
    can look at it.
    """
    damaged = {listed.name: f"its .{' and .'.join(listed.missing)} is missing" for listed in _missing(contents)}
    metrics = None
    if retention.best is not None and retention.best.metric != "loss":
        manifests = _manifests(store, contents, damaged)
        metrics = _values(manifests, retention.best).get
    names = _expendable(contents, damaged, retention, metrics)
    if names:  # only then is it worth reading the newest pair in full
        _, passed = newest_valid(store, contents, folder, advance)
        damaged = {**{verdict.name: "; ".join(verdict.problems) for verdict in passed}, **damaged}
        names = _expendable(contents, damaged, retention, metrics, _needs(store, contents))
    for name, problem in damaged.items():
        warn(f"{name}: {problem}; left alone")
    by_name = {listed.name: listed for listed in contents.pairs}
    orphans = tuple(o for o in reversed(contents.orphans) if o.name.incarnation < contents.incarnation)
    held = bool(orphans) and is_held(store, contents.run)
    return Pruning(tuple(by_name[name] for name in names), () if held else orphans, orphans if held else ())


def remove(store: Store, contents: Contents, pruning: Pruning, done: Callable[[Listed], None]) -> None:
    """Removes manifests first; an interruption leaves at most data that a later pruning finds."""
    for listed in pruning.orphans:
        if is_held(store, contents.run):  # a machine came meanwhile
            break
        for part in listed.sizes:
            store.delete(f"{contents.run}/{listed.name.file(part)}")
        done(listed)
    for listed in pruning.pairs:
        remove_pair(store, str(contents.run), listed.name)
        done(listed)


def _missing(contents: Contents) -> list[Listed]:
    return [listed for listed in contents.pairs if listed.missing]


def _expendable(
    contents: Contents,
    damaged: Mapping[CheckpointName, str],
    retention: Retention,
    metrics: Callable[[CheckpointName], float | None] | None,
    needs: Callable[[CheckpointName], Iterable[CheckpointName]] = lambda name: (),
) -> list[CheckpointName]:
    sound = [listed.name for listed in contents.pairs if listed.name not in damaged]
    return retention.expendable(sound, metrics=metrics, needs=needs)


def _needs(store: Store, contents: Contents) -> Callable[[CheckpointName], Iterable[CheckpointName]]:
    """The last pairs of finished fits stay until the run is complete."""
    by_name = {listed.name: listed for listed in contents.pairs}

    def needed_by(name: CheckpointName) -> Iterable[CheckpointName]:
        try:
            return () if contents.complete else manifest_of(store, contents.run, by_name[name]).needs
        except InvalidPair:
            return ()

    return needed_by


def _manifests(store: Store, contents: Contents, damaged: dict[CheckpointName, str]) -> list[Manifest]:
    """Of all pairs; those that cannot be read are added to ``damaged``."""

    def read(listed: Listed) -> Manifest | InvalidPair:
        try:
            return manifest_of(store, contents.run, listed)
        except InvalidPair as error:
            return error

    found = []
    with ThreadPoolExecutor(_READERS) as pool:
        for listed, manifest in zip(contents.pairs, pool.map(read, contents.pairs), strict=True):
            if isinstance(manifest, Manifest):
                found.append(manifest)
            else:
                damaged[listed.name] = f"unreadable manifest: {manifest}"
    return found


def _values(manifests: list[Manifest], best: Best) -> dict[CheckpointName, float]:
    """Raises SettingsError where no checkpoint has the metric."""
    if manifests and not any(best.metric in manifest.metrics for manifest in manifests):
        raise SettingsError(best.unknown({name for manifest in manifests for name in manifest.metrics}))
    values = {manifest.name: manifest.metrics.get(best.metric) for manifest in manifests}
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}

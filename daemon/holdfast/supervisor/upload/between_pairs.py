"""Tasks of the uploader between pairs: it uploads logs and artifacts, and removes what retention lets go."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from ...core.checkpoint_name import CheckpointName
from ...core.errors import InvalidPair, Permanent, SourceError, StoreError
from ...core.manifest import Manifest
from ...core.policy import Backoff, Retention
from ...store import Store
from ...store.catalog import read_manifest, remove_pair
from .artifacts import Artifacts
from .logs import GrowingLog
from .transfer import RELEASE_TIME, SHARE, GivenUp

LOG_INTERVAL = 30.0
Job = Callable[[], None]


@dataclass(frozen=True)
class Closing:
    """The end is near: ``complete``, or stopped; ``deadline`` is on the uploader's clock."""

    complete: bool
    deadline: float | None


class Task(Protocol):
    """Work that is done between pairs, in jobs that are small or give way, so that a new pair needn't wait long.

    One that is not ``vital`` is left undone when a deadline is near.
    """

    vital: bool

    def job(self, now: float, closing: Closing | None) -> Job | None:
        """The next job, if one is due; ``closing`` asks for all that is left. It only looks: a lock is held meanwhile.

        A job raises StoreError or OSError if it failed, and is asked for again later.
        """

    def prepare(self, manifest: Manifest) -> None:
        """A pair is about to be stored: first comes what must be in the store before it. Fails as a job does."""

    def stored(self, manifest: Manifest) -> None:
        """A pair came into the store."""


class ScheduledTask:
    """a task, and when it may be tried again after it failed."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.failures = 0
        self._not_before = float("-inf")

    def job(self, now: float) -> Job | None:
        return self.task.job(now, None) if now >= self._not_before else None

    def postpone(self, now: float, backoff: Backoff) -> float:
        self.failures += 1
        wait = backoff.delay(self.failures, random.random())
        self._not_before = now + wait
        return wait


class UploadLogs:
    """Logs now and then, each whole every time, and other small files of the run once.

    A log gives way as soon as something is ``pressed`` for, or a deadline is ``left()`` seconds away: it comes again
    later, at the latest at the end, which it may use up to the deadline.

    What the store refuses for good is tried again before the end, as it may be fixed until then; at the end it is given
    up, which is reported once: a run must not wait for its log.
    """

    vital = True

    def __init__(
        self,
        store: Store,
        logs: Iterable[GrowingLog],
        pressed: Callable[[], bool],
        left: Callable[[], float | None],
        clock: Callable[[], float],
        say: Callable[[str], None],
        interval: float = LOG_INTERVAL,
    ) -> None:
        self._store = store
        self._rests_until = dict.fromkeys(logs, float("-inf"))
        self._pressed = pressed
        self._left = left
        self._clock = clock
        self._say = say
        self._interval = interval
        self._files: dict[str, Path] = {}
        self._closing = False

    def bring(self, key: str, path: Path) -> None:
        """Stores one more file, with the next logs."""
        self._files[key] = path

    def job(self, now: float, closing: Closing | None) -> Job | None:
        if closing and not self._closing:
            self._closing = True
            self._rests_until = dict.fromkeys(self._rests_until, now)
        for log in [log for log, until in self._rests_until.items() if until <= now]:
            if log.has_grown():
                return partial(self._bring, log)
            self._rests_until[log] = now + self._interval
        for key, path in self._files.items():
            return partial(self._put, key, path)
        return None

    def prepare(self, manifest: Manifest) -> None:
        pass

    def stored(self, manifest: Manifest) -> None:
        pass

    def _put(self, key: str, path: Path) -> None:
        if path.is_file():
            try:
                self._store.put(key, path)
            except SourceError as error:
                self._say(f"{key} is not in the store: {error}")
            except Permanent as error:
                self._give_up(key, error)
        del self._files[key]

    def _bring(self, log: GrowingLog) -> None:
        began, failed, left_out = self._clock(), True, ""
        try:
            if not log.bring(lambda copy: self._store.put(log.key, copy, progress=self._go_on), self._go_on):
                left_out = "there is no room for a copy of it on this machine"
            failed = False
        except GivenUp:
            failed, left_out = False, "no time is left to store it"
        except (Permanent, SourceError) as error:
            self._give_up(log.key, error)
            del self._rests_until[log]
        finally:
            now = self._clock()
            if not (failed and self._closing):  # the end tries it again at once
                self._rests_until[log] = now + max(self._interval, SHARE * (now - began))
        if self._closing and left_out:
            self._say(f"the end of {log.key} is not in the store: {left_out}")

    def _give_up(self, key: str, error: Permanent | SourceError) -> None:
        if not self._closing:
            raise error
        self._say(f"{key} is not in the store: {error}")

    def _go_on(self, sent: int) -> None:
        left = self._left()
        if self._pressed() or (left is not None and (not self._closing or left <= RELEASE_TIME)):
            raise GivenUp


class Prune:
    """Removes pairs from the store as soon as retention lets them go, oldest first.

    It goes by names, and what an earlier start stored may be damaged: so it begins when this start has stored the
    newest pair of all, and a training could resume from it.

    While no pair has the metric of ``keep.best``, nothing is removed, which is reported once: a run's first pairs, in
    the middle of an epoch, may have no validation yet.
    """

    vital = False

    def __init__(
        self, store: Store, run: str, keep: Retention, stored: Iterable[CheckpointName], say: Callable[[str], None]
    ) -> None:
        self._store = store
        self._run = run
        self._keep = keep
        self._stored = set(stored)
        self._metrics: dict[CheckpointName, Mapping[str, float | None]] = {}
        self._needs: dict[CheckpointName, tuple[CheckpointName, ...]] = {}
        self._reported_metric = False
        self._say = say
        self._given_up = keep.unlimited
        self._begun = False
        self._looked = True

    def job(self, now: float, closing: Closing | None) -> Job | None:
        if self._given_up or self._looked or not self._begun:
            return None
        return self._prune_at_last if closing else self._prune

    def prepare(self, manifest: Manifest) -> None:
        pass

    def stored(self, manifest: Manifest) -> None:
        self._stored.add(manifest.name)
        self._needs[manifest.name] = manifest.needs
        newest = max(self._stored, key=lambda name: name.order)
        self._begun |= manifest.name.finite and manifest.name == newest
        self._looked = False
        if self._keep.best is not None:
            self._metrics[manifest.name] = manifest.metrics

    def _prune(self) -> None:
        by_name = self._keep.best is None or self._keep.best.metric == "loss"
        metrics = None if by_name else self._metric
        expendable = self._keep.expendable(self._stored, metrics=metrics)
        if expendable:  # only then is it worth reading what the others need
            expendable = self._keep.expendable(self._stored, metrics=metrics, needs=self._needed_by)
        if not (expendable or self._reported_metric or self._keep.best is None):
            self._report_metric()
        for name in expendable:
            try:
                remove_pair(self._store, self._run, name)
            except Permanent as error:
                self._given_up = True
                self._say(f"nothing is pruned any more: {error}")
                return
            self._stored.discard(name)
        self._looked = True

    def _prune_at_last(self) -> None:
        """A run does not wait for a deletion: what fails at the end is left to the next start."""
        self._looked = True
        with contextlib.suppress(StoreError):
            self._prune()

    def _report_metric(self) -> None:
        """Only where the other rules would let something go."""
        assert self._keep.best is not None
        waiting = replace(self._keep, last=self._keep.last or 1, best=None).expendable(self._stored)
        values = [metrics.get(self._keep.best.metric) for metrics in self._metrics.values()]
        if waiting and not any(value is not None for value in values):
            self._reported_metric = True
            known = {name for metrics in self._metrics.values() for name in metrics}
            self._say(f"{self._keep.best.unknown(known)}; nothing is pruned until one has")

    def _needed_by(self, name: CheckpointName) -> tuple[CheckpointName, ...]:
        if name not in self._needs:
            try:
                self._needs[name] = read_manifest(self._store, self._run, name).needs
            except InvalidPair:
                self._needs[name] = ()
        return self._needs[name]

    def _metric(self, name: CheckpointName) -> float | None:
        assert self._keep.best is not None
        if name not in self._metrics:
            try:
                self._metrics[name] = read_manifest(self._store, self._run, name).metrics
            except InvalidPair:
                self._metrics[name] = {}
        return self._metrics[name].get(self._keep.best.metric)


class UploadArtifacts:
    """What the script wrote under artifacts/: after every pair and the logs, and before the run's end is marked.

    Files that a pair's callbacks know of come before that pair, so that the store never has a best value without its
    model.
    """

    vital = True

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def job(self, now: float, closing: Closing | None) -> Job | None:
        if closing is not None:
            self._artifacts.conclude(closing.complete, closing.deadline)
        return self._artifacts.next_job()

    def prepare(self, manifest: Manifest) -> None:
        if manifest.artifacts:
            self._artifacts.bring(manifest.artifacts)

    def stored(self, manifest: Manifest) -> None:
        pass

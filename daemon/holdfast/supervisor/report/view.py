"""The state of this start, for status, metrics and notifications: facts from events, progress from the board."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.checkpoint_name import CheckpointName
from ...core.history.event import Event as Line
from ...core.history.spans import KINDS, SpanReader
from ...core.history.times import counted, overall_goodput, runtime_goodput, seconds_of
from ...core.machine.events import Event, NoNotice, NoticeStands, RebalanceRecommended
from ...core.view import Facts, useful_batches
from ...spool import STORED, Board, Progress
from .journal import Journal


@dataclass(frozen=True)
class Standing:
    """``executed`` are the batches that this start ran, ``useful_batches`` their share that counts, ``seconds`` what
    its time went into so far, by kind (core/history/spans.py). ``now`` is a Unix time.
    """

    facts: Facts
    progress: Progress
    executed: int
    owed: int | None
    seconds: Mapping[str, float]
    now: float

    @property
    def useful_batches(self) -> float | None:
        return useful_batches(self.facts.base, self.progress.step, self.executed)

    @property
    def run_executed(self) -> int | None:
        """The batches that all starts of the run did; None while those of the earlier ones are not known."""
        return None if self.facts.earlier is None else self.facts.earlier.executed + self.executed

    @property
    def run_useful_batches(self) -> float | None:
        """Their share that counts."""
        earlier, executed = self.facts.earlier, self.run_executed
        if earlier is None or executed is None:
            return None
        base = earlier.base if earlier.executed else self.facts.base
        return useful_batches(base, self.progress.step, executed)

    @property
    def run_seconds(self) -> dict[str, float] | None:
        """What the time of all starts went into; None while that of the earlier ones is not known."""
        earlier = self.facts.earlier
        if earlier is None:
            return None
        between = max(0.0, self.facts.began - earlier.ended) if earlier.starts else 0.0
        parts = (earlier.seconds, self.seconds, {"gap": between})
        return {kind: total for kind in KINDS if (total := sum(part.get(kind, 0.0) for part in parts)) > 0}

    @property
    def run_goodput(self) -> tuple[float | None, float | None]:
        """Runtime goodput and overall goodput, as ``holdfast report`` counts them."""
        seconds, earlier = self.run_seconds, self.facts.earlier
        if seconds is None or earlier is None or not counted(seconds):
            return None, None
        began = earlier.began if earlier.starts else self.facts.began
        wall = self.now - began
        return runtime_goodput(seconds, wall), overall_goodput(seconds, wall)


class Watch:
    """Hears the journal from its making on. Cheap to ask, from any thread.

    ``executed_before`` are the batches that earlier starts executed in this folder. ``wall`` is seconds since 1970.
    """

    def __init__(self, journal: Journal, work_dir: Path, wall: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._work_dir = work_dir
        self.facts = Facts()
        self.executed_before = 0
        self._wall = wall
        self._lock = threading.Lock()
        self._reader: SpanReader | None = None
        journal.listen(self._heard)

    def standing(self) -> Standing:
        facts, folder = self.facts, self._journal.folder
        progress, owed = Progress(), None
        if folder is not None:
            with contextlib.suppress(OSError):
                progress, owed = Board.read(folder / Board.FILE), count_owed(folder)
        began = facts.counts.get("started", 0) > 0  # before that the board is an earlier start's
        now, executed = self._wall(), max(0, progress.executed - self.executed_before) if began else 0
        return Standing(facts, progress, executed, owed, self._seconds(now), now)

    def _seconds(self, now: float) -> dict[str, float]:
        with self._lock:
            return {} if self._reader is None else seconds_of(self._reader.until(now))

    def _heard(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind == "started" and not self.facts.counts.get("started") and self.facts.run is not None:
            with contextlib.suppress(OSError):
                self.executed_before = Board.read(self._work_dir / self.facts.run / Board.FILE).executed
        self.facts = self.facts.after(event)
        line = Line.of(event)
        with self._lock:
            if line is not None:
                self._reader = self._reader or SpanReader(line.at)
                self._reader.read(line)


def count_owed(folder: Path) -> int:
    """Pairs in the folder that are not known to be in the store. Makes nothing, and reads names only."""
    names = set(os.listdir(folder))
    return len(pairs_with(names, "json")) - len(pairs_with(names, STORED))


def pairs_with(names: Collection[str], part: str) -> list[CheckpointName]:
    """Of the files of a folder, the pairs that have such a one: ``json``, or STORED."""
    pairs = (pair for name in names if (pair := CheckpointName.of_manifest_file(name)) is not None)
    return [pair for pair in pairs if pair.file(part) in names]


def announcing(journal: Journal, report: Callable[[Event], None]) -> Callable[[Event], None]:
    """Passes on what sources of notices report, and writes it down. It is called in the thread of each."""
    standing: set[str] = set()
    lock = threading.Lock()

    def announce(event: Event) -> None:
        with lock:
            if isinstance(event, NoticeStands):
                standing.add(event.source)
                journal.event("notice", what=event.what, seconds=event.seconds, source=event.source)
            elif isinstance(event, RebalanceRecommended):
                journal.event("notice", what="rebalance recommendation", seconds=None, source="aws")
            elif isinstance(event, NoNotice) and event.source in standing:
                standing.discard(event.source)
                journal.event("notice-over", source=event.source)
            report(event)

    return announce

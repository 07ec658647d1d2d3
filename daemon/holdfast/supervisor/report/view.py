"""The state of this start, for status, metrics and notifications: facts from events, progress from the board."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.checkpoint_name import CheckpointName
from ...core.machine.events import Event, NoNotice, NoticeStands, RebalanceRecommended
from ...core.view import Facts, goodput
from ...spool import STORED, Board, Progress
from .journal import Journal


@dataclass(frozen=True)
class Standing:
    """``executed`` are the batches that this start ran, and ``goodput`` their share that counts."""

    facts: Facts
    progress: Progress
    executed: int
    owed: int | None

    @property
    def goodput(self) -> float | None:
        return goodput(self.facts.base, self.progress.step, self.executed)


class Watch:
    """Hears the journal from its making on. Cheap to ask, from any thread.

    ``executed_before`` are the batches that earlier starts executed in this folder.
    """

    def __init__(self, journal: Journal, work_dir: Path) -> None:
        self._journal = journal
        self._work_dir = work_dir
        self.facts = Facts()
        self.executed_before = 0
        journal.listen(self._heard)

    def standing(self) -> Standing:
        facts, folder = self.facts, self._journal.folder
        progress, owed = Progress(), None
        if folder is not None:
            with contextlib.suppress(OSError):
                progress, owed = Board.read(folder / Board.FILE), count_owed(folder)
        began = facts.counts.get("started", 0) > 0  # before that the board is an earlier start's
        return Standing(facts, progress, max(0, progress.executed - self.executed_before) if began else 0, owed)

    def _heard(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind == "started" and not self.facts.counts.get("started") and self.facts.run is not None:
            with contextlib.suppress(OSError):
                self.executed_before = Board.read(self._work_dir / self.facts.run / Board.FILE).executed
        self.facts = self.facts.after(event)


def count_owed(folder: Path) -> int:
    """Pairs in the folder that are not known to be in the store. Makes nothing, and reads names only."""
    names = set(os.listdir(folder))
    return len(pairs_with(names, "json")) - len(pairs_with(names, STORED))


def pairs_with(names: Collection[str], part: str) -> list[CheckpointName]:
    """Of the files of a folder, the pairs that have such a one: ``json``, or STORED."""
    pairs = (pair for name in names if (pair := CheckpointName.of_manifest_file(name)) is not None)
    return [pair for pair in pairs if pair.file(part) in names]


def announcing(journal: Journal, report: Callable[[Event], None]) -> Callable[[Event], None]:
    """Passes on what the watcher of notices reports, and writes it down."""
    standing = False

    def announce(event: Event) -> None:
        nonlocal standing
        if isinstance(event, NoticeStands):
            standing = True
            journal.event("notice", what=event.what, seconds=event.seconds)
        elif isinstance(event, RebalanceRecommended):
            journal.event("notice", what="rebalance recommendation", seconds=None)
        elif isinstance(event, NoNotice) and standing:
            standing = False
            journal.event("notice-over")
        report(event)

    return announce

"""status.json in the run's folder: written by the daemon, read by ``holdfast status``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from ...core.checkpoint_name import CheckpointName
from ...core.errors import Busy
from ...core.runs import RunId
from ...core.view import Facts, Mark, checked, useful_batches
from ...spool import STORED, Board, Progress, file_lock, read_regular, write_whole
from .journal import Journal
from .view import Watch, count_owed, pairs_with

STATUS_FILE = "status.json"
_MOST_BYTES = 1 << 20
_GARBAGE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


class StatusFile:
    """Rewrites the file after what happened, at most once in ``interval`` seconds, in a thread of its own.

    What changes all the time, progress, is not in it: readers take that from the board.
    """

    def __init__(self, watch: Watch, journal: Journal, interval: float = 1.0) -> None:
        self._watch = watch
        self._journal = journal
        self._interval = interval
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)
        journal.listen(lambda kind, event: self._changed.set())
        self._thread.start()

    def close(self) -> None:
        """Writes how it ended."""
        self._closed.set()
        self._changed.set()
        self._thread.join(self._interval + 1.0)

    def _run(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            last = self._closed.is_set()
            self._write()
            if last:
                return
            self._closed.wait(self._interval)

    def _write(self) -> None:
        folder = self._journal.folder
        if folder is not None:
            document = describe(self._watch.facts, self._watch.executed_before)
            with contextlib.suppress(OSError):  # a full disk must not stop the training
                write_whole(folder / STATUS_FILE, json.dumps(document).encode(), durable=False)


def describe(facts: Facts, executed_before: int) -> dict[str, Any]:
    """The document. The process is known by its start time too: its number may be another's by now."""
    return {
        "format": 1,
        "pid": os.getpid(),
        "pid_began": _began(os.getpid()),
        "executed_before": executed_before,
        "facts": facts.to_dict(),
    }


@dataclass(frozen=True)
class Status:
    """What a run's folder tells. ``alive`` is None where it cannot be found out."""

    run: str
    folder: Path
    alive: bool | None
    daemon: int
    facts: Facts
    progress: Progress
    owed: int
    executed_before: int

    @property
    def useful_batches(self) -> float | None:
        executed = self.progress.executed - self.executed_before if self.facts.counts.get("started") else 0
        return useful_batches(self.facts.base, self.progress.step, executed)

    @property
    def training_seconds_left(self) -> float | None:
        """Until all epochs are done, while the training lasts."""
        if self.alive is False or self.facts.ended:
            return None
        return self.facts.course.seconds_left(self.progress.epoch, self.progress.batch)

    @property
    def state(self) -> str:
        """The phase, or what came of it; ``waiting`` before the command runs, for a lease or for a notice to pass."""
        if self.facts.ended:
            return f"ended (exit {self.facts.exit_code})"
        if self.alive is False:
            return "dead"
        return self.facts.phase if self.facts.waiting is None else "waiting"

    def to_dict(self, now: float) -> dict[str, Any]:
        """For programs; times are seconds since 1970, and ages are seconds."""
        facts = self.facts
        return {
            "run": self.run,
            "folder": str(self.folder),
            "state": self.state,
            "alive": self.alive,
            "daemon_pid": self.daemon,
            "phase": facts.phase,
            "exit_code": facts.exit_code,
            "began": facts.began,
            "incarnation": facts.incarnation,
            "epoch": self.progress.epoch,
            "batch": self.progress.batch,
            "step": self.progress.step,
            "executed": self.progress.executed,
            "epochs": facts.course.epochs,
            "batches": facts.course.batches,
            "share": facts.course.share(self.progress.epoch, self.progress.batch),
            "training_seconds_left": self.training_seconds_left,
            "useful_batches": self.useful_batches,
            "saved": _mark(facts.saved, now),
            "stored": _mark(facts.stored, now),
            "owed": self.owed,
            "notice": facts.notice,
            "waiting": facts.waiting,
            "stopping": facts.stopping,
            "seconds_left": None if facts.until is None else round(max(0.0, facts.until - now), 1),
            "child_pid": facts.pid,
            "restarts": facts.restarts,
            "orphans": facts.orphans,
            "warning": facts.warning,
            "warned": facts.warned,
        }


def find(work_dir: Path, name: str | None = None, unreadable: Callable[[str], None] = lambda run: None) -> list[Status]:
    """The runs under a work dir that a daemon worked on, by number; of one ``name`` or run id only.

    ``unreadable`` is called with each run whose status is garbage: a broken disk's, say.
    """
    found = _found(work_dir, name, unreadable)
    return sorted(found, key=lambda status: RunId.parse(status.run) or RunId(0, ""))


def _found(work_dir: Path, name: str | None, unreadable: Callable[[str], None]) -> Iterator[Status]:
    for folder in work_dir.iterdir() if work_dir.is_dir() else ():
        run = RunId.parse(folder.name)
        if run is None or name not in (None, run.name, str(run)):
            continue
        try:
            status = read(folder)
        except (FileNotFoundError, NotADirectoryError):  # no daemon has worked there
            continue
        except (OSError, *_GARBAGE):
            unreadable(folder.name)
        else:
            yield status


def read(folder: Path) -> Status:
    """Raises OSError, and one of _GARBAGE if it is no status."""
    document = json.loads(read_regular(folder / STATUS_FILE, _MOST_BYTES))
    writer = checked(_Writer(document["pid"], document["pid_began"], document["executed_before"]))
    facts = Facts.from_dict(document["facts"])
    return Status(
        run=folder.name,
        folder=folder,
        alive=_is_alive(folder, writer),
        daemon=writer.pid,
        facts=replace(
            facts,
            saved=_newest(folder, facts, facts.saved, "json"),
            stored=_newest(folder, facts, facts.stored, STORED),
        ),
        progress=Board.read(folder / Board.FILE),
        owed=count_owed(folder),
        executed_before=writer.executed_before,
    )


def _newest(folder: Path, facts: Facts, known: Mark | None, part: str) -> Mark | None:
    """The newest pair of this start that has such a file. What is owed is counted in the folder, and the facts are up
    to a second older: beside a pair that was saved and stored meanwhile they would speak of another one."""
    here = (name for name in pairs_with(set(os.listdir(folder)), part) if name.incarnation == facts.incarnation)
    newest = max(here, key=lambda name: name.order, default=None)
    before = known and CheckpointName.parse(known.checkpoint)
    if newest is None or (before and newest.order <= before.order):
        return known
    with contextlib.suppress(OSError):  # it may be pruned at this moment
        return Mark(str(newest), newest.epoch, newest.step, (folder / newest.file(part)).stat().st_mtime)
    return known


@dataclass(frozen=True)
class _Writer:
    """The process that wrote the status."""

    pid: int
    pid_began: float | None
    executed_before: int


def _is_alive(folder: Path, writer: _Writer) -> bool | None:
    """Its process is looked for first: taking the folder's lock, for however short, is in a new daemon's way."""
    if writer.pid_began is not None and writer.pid_began == _began(writer.pid):
        return True
    try:
        with file_lock(folder / ".lock"):
            return False
    except Busy:
        return True
    except OSError:
        return None


def _began(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def _mark(mark: Mark | None, now: float) -> dict[str, Any] | None:
    return None if mark is None else {**dataclasses.asdict(mark), "age": round(max(0.0, now - mark.at), 1)}

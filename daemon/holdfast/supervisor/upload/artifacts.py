"""Keeps the run's ``artifacts/`` folder in the store, and brings it to a new machine.

It has no thread and no retries of its own: it hands out small jobs, and the uploader (upload/uploader.py) puts
every pair before the next one, and runs a job that raised StoreError again later. A file that is on its way gives way
to a pair, unless that pair is to come after it. Data first, the index last, as with pairs; but a training never resumes
from an artifact, so one that cannot be stored is reported and left out.

A file that changed since the last look waits for the next one; then it is stored as it is, even if it changed again. A
growing log may end in the middle of a line for a while. What changed while it was sent is sent again, and its record
says so until then.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from ...core.artifacts import Limits, Seen, plan
from ...core.errors import NotFound, Permanent, SourceError, StoreError
from ...core.event_sink import EventSink
from ...core.wording import bytes_text, count
from ...spool import Spool
from ...store import Store
from .artifact_transfer import INDEX, ArtifactTransfer
from .artifacts_folder import look
from .transfer import RELEASE_TIME, GivenUp

Job = Callable[[], None]
_MOST_TRIES = 8  # about a minute and a half of the uploader's backoff
_MOST_FAILURES = 3
_MOST_SENDINGS = 3  # of a file that changes meanwhile


@dataclass(frozen=True)
class _Task:
    path: str
    size: int
    run: Job


class Artifacts:
    """``restore`` first, in any thread; when it has returned, everything else from one thread.

    ``wall_ns`` is the clock that the files' times are from. While something is ``pressed`` for, the file that is being
    sent is given up: it comes again later.
    """

    def __init__(
        self,
        store: Store,
        spool: Spool,
        limits: Limits,
        say: EventSink,
        clock: Callable[[], float] = time.monotonic,
        pressed: Callable[[], bool] = lambda: False,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._transfer = ArtifactTransfer(store, spool, limits, say, pressed, clock)
        self._limits = limits
        self._say = say
        self._clock = clock
        self._wall_ns = wall_ns
        self._listed = False
        self._tasks: deque[_Task] = deque([_Task(INDEX, 0, self._list)] if limits.total else [])
        self._tries: Counter[str] = Counter()
        self._later: frozenset[str] = frozenset()
        self._missing: set[str] = set()
        self._look_at = clock()
        self._concluding = False
        self._ended = False

    def restore(self, cancelled: threading.Event, continues: bool = True) -> None:
        """Brings what the store has and this machine lacks, before the command starts, for ``limits.wait`` seconds.

        ``continues``: no other machine had the run since this one. Else the store's files are the run's, whatever the
        times of those here say.

        What does not make it comes later, among the jobs; then nothing that is here already is touched any more.
        """
        began, failures, transfer = self._clock(), 0, self._transfer
        transfer.continues = continues
        transfer.until = began + self._limits.wait
        while self._tasks and transfer.in_time(self._tasks[0].size) and not cancelled.is_set():
            try:
                self._first()
            except StoreError as error:
                failures += 1
                if failures == _MOST_FAILURES:
                    self._say("store-away", f"artifacts/: {error}", warning=True)
                    break
                cancelled.wait(0.5 * failures)
        transfer.until, transfer.running = None, True
        self._tell(began)

    def _tell(self, began: float) -> None:
        done, self._transfer.done = self._transfer.done, Counter()
        files, size, seconds = done["restored"], done["restored bytes"], round(self._clock() - began, 3)
        if files:
            text = f"restored {count(files, 'artifact')} ({bytes_text(size)}, {seconds:.2f} s)"
            self._say("artifacts-restored", text, files=files, bytes=size, seconds=seconds)
        if self._tasks:
            text = "the command does not wait for the rest of the artifacts; they are brought while it runs"
            self._say("artifacts-later", text, files=len(self._tasks))

    def next_job(self) -> Job | None:
        """The next small thing to do, if something is due. It may raise StoreError: then run the next one later."""
        if not self._tasks and self._transfer.dirty:
            self._tasks.append(_Task(INDEX, 0, self._transfer.send_index))
        if self._tasks:
            return self._first
        return self._look if self.due_in() <= 0 else None

    def bring(self, paths: Collection[str]) -> None:
        """Sends those of ``paths`` that the store lacks, and the index, at once: a pair is to come after them.

        It may raise StoreError: then call it again later.
        """
        if not self._limits.total:
            return
        while not self._listed:
            self._first()
        transfer = self._transfer
        for path in plan(look(transfer.root) or {}, transfer.stored, (), self._limits.total, None).bring:
            if path in paths and self._tries[path] < _MOST_TRIES:
                self._send_whole(path)
        if transfer.dirty:
            self._do_now(INDEX, transfer.send_index)

    def _send_whole(self, path: str) -> None:
        for _ in range(_MOST_SENDINGS):
            self._do_now(path, partial(self._transfer.send, path))
            stored = self._transfer.stored.get(path)
            if stored is None or stored.sha256 is not None:
                break

    def _do_now(self, path: str, run: Job) -> None:
        self._tasks = deque(task for task in self._tasks if task.path != path)
        self._tasks.appendleft(_Task(path, 0, run))
        self._first()

    def due_in(self) -> float:
        """Seconds until ``next_job`` has something to do."""
        if not self._limits.total:
            return float("inf")
        return 0.0 if self._tasks or self._transfer.dirty else max(0.0, self._look_at - self._clock())

    def conclude(self, ended: bool, deadline: float | None) -> None:
        """The command is gone: one last look, now, after which ``next_job`` has nothing more to give.

        ``ended`` says that it ended by itself, so that what it removed is meant to be gone. What cannot be sent before
        the ``deadline``, by the clock, is left out. Further calls only move it.
        """
        self._transfer.until = None if deadline is None else deadline - RELEASE_TIME
        if not self._concluding:
            self._concluding, self._ended = True, ended
            self._look_at = self._clock()
            if self._listed:
                self._tasks.clear()

    def _list(self) -> None:
        offered = self._transfer.learn()
        self._listed = True
        if not self._concluding:
            for path in offered:
                size = self._transfer.stored[path].size
                self._tasks.append(_Task(path, size, partial(self._transfer.fetch, path)))

    def _look(self) -> None:
        now = self._clock()
        self._look_at = float("inf") if self._concluding else now + self._limits.interval
        self._tries.clear()
        transfer, tree = self._transfer, look(self._transfer.root)
        if tree is None:  # never made; or removed as a whole, or unmounted: nothing is concluded from that
            return
        wall = None if self._concluding else self._wall_ns()
        planned = plan(tree, transfer.stored, self._later, self._limits.total, wall)
        self._later = planned.later
        transfer.leave_out(planned.left_out)
        for path in planned.bring:
            if self._concluding or transfer.rests_until.get(path, now) <= now:
                self._tasks.append(_Task(path, 0, partial(transfer.send, path)))
        for path in self._vanished(tree):
            self._tasks.append(_Task(path, 0, partial(transfer.remove, path)))

    def _vanished(self, tree: Mapping[str, Seen | str]) -> set[str]:
        """Stored files that were here once and were missing in two looks: a script may remove one to write it anew.

        What this machine never had is another's, and stays.
        """
        before, self._missing = self._missing, set()
        for path in self._transfer.here & self._transfer.stored.keys():
            folders = map(str, PurePosixPath(path).parents)
            if path not in tree and not any(isinstance(tree.get(folder), str) for folder in folders):
                self._missing.add(path)
        self._transfer.here.update(path for path, what in tree.items() if isinstance(what, Seen))
        return self._missing if self._ended else self._missing & before

    def _first(self) -> None:
        task = self._tasks.popleft()
        try:
            task.run()
        except GivenUp:
            if self._concluding:
                self._transfer.leave_out({task.path: "no time is left to store it"})
        except (Permanent, NotFound, SourceError, OSError) as error:
            self._give_up(task, str(error))
        except StoreError as error:
            self._tries[task.path] += 1
            if self._tries[task.path] < _MOST_TRIES or not self._listed:
                self._tasks.append(task)
                raise
            self._give_up(task, str(error))

    def _give_up(self, task: _Task, error: str) -> None:
        """Until the next look: an artifact must not hold up the others, nor the end of the run."""
        if task.path == INDEX:
            self._transfer.dirty, self._listed = False, True
        self._transfer.leave_out({task.path: error})

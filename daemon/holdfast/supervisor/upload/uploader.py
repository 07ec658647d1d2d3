"""Uploads pairs to the store, in one thread, with the one retry loop of the system; between pairs it runs other tasks.

Pairs go newest first. Where a deadline is near, what can still make it is decided from the measured rate, and an older
pair's upload gives way to the newest (core/policy.py).
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from ...core.checkpoint_name import CheckpointName
from ...core.errors import Conflict, Fenced, InvalidPair, Permanent, SourceError, StoreError
from ...core.manifest import Manifest
from ...core.policy import Backoff, Owed, Retention, must_give_way, next_upload, superseded
from ...spool import Spool
from ...store import Store
from .between_pairs import Closing, Job, ScheduledTask, Task
from .store_pair import EarlierPair, store_pair
from .transfer import GivenUp, PairTransfer, Rate

BACKOFF = Backoff(first=0.5, most=30.0)
_PATIENCE = 2.0


class Listener(Protocol):
    """What the uploader reports, from its own thread or from that which calls it."""

    def stored(self, name: CheckpointName, size: int, copied: int, seconds: float) -> None: ...
    def cannot_copy(self, why: str) -> None: ...
    def lost(self, name: CheckpointName, error: str) -> None: ...
    def skipped(self, name: CheckpointName) -> None: ...
    def left_behind(self, name: CheckpointName) -> None: ...
    def failing(self, error: str, retry_in: float) -> None: ...
    def finalized(self, refusal: str) -> None: ...


class Uploader:
    """Uploads the pairs that it is given. ``newest`` is the order of the newest pair that the store has.

    ``spare`` are pairs in the spool that the store need not get: retention removes them as those that it has. What was
    saved in this ``incarnation`` no other start has tried to store. ``in_use`` gives the pairs in the spool that the
    command may be reading; None while that is not known.
    ``settled`` are the pairs that are stored, lost or no longer needed; ``lost`` those that can never be stored.
    """

    def __init__(
        self,
        store: Store,
        spool: Spool,
        listener: Listener,
        tasks: Sequence[Task],
        finish: Callable[[bool], None],
        keep: Retention,
        newest: tuple[int, int] = (0, 0),
        spare: Collection[CheckpointName] = (),
        incarnation: int = 0,
        in_use: Callable[[], Collection[CheckpointName] | None] = lambda: (),
        backoff: Backoff = BACKOFF,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._spool = spool
        self._listener = listener
        self._tasks = [ScheduledTask(task) for task in tasks]
        self._finish = finish
        self._keep = keep
        self._backoff = backoff
        self._clock = clock
        self._wake = threading.Condition()
        self._owed: dict[CheckpointName, Owed] = {}
        self._newest = newest
        self._spare = frozenset(spare)
        self._incarnation = incarnation
        self._in_use = in_use
        self._tried: set[CheckpointName] = set()
        self._last_stored: Manifest | None = None
        self._transfer: PairTransfer | None = None
        self._rate = Rate()
        self._deadline: float | None = None
        self._finalize: bool | None = None
        self._dropped = False
        self._preparing = False
        self._failures = 0
        self.settled: set[CheckpointName] = set()
        self.lost: set[CheckpointName] = set()
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)

    @property
    def pressed(self) -> bool:
        """Is a pair waiting?"""
        return bool(self._owed) or self._dropped

    @property
    def gives_way(self) -> bool:
        """Should the long job of a task give way? One for which a pair waits continues, until there is a deadline."""
        return self.pressed and not (self._preparing and self._deadline is None and not self._dropped)

    def seconds_left(self) -> float | None:
        """Seconds to the deadline, if there is one."""
        deadline = self._deadline
        return None if deadline is None else deadline - self._clock()

    def start(self) -> None:
        """Raises RuntimeError if there can be no further thread."""
        self._thread.start()

    def add(self, name: CheckpointName) -> None:
        """Uploads a pair that is in the spool, as soon as its turn comes."""
        with self._wake:
            self._owed[name] = self._describe(name)
            under_way = self._transfer.owed.name if self._transfer else None
            outdated = [one.name for one in superseded(self._owed.values()) if one.name != under_way]
            for old in outdated:
                del self._owed[old]
                self.settled.add(old)
            self._make_way()
            self._wake.notify()
        for old in outdated:
            self._listener.skipped(old)

    def unknown(self, names: Iterable[CheckpointName]) -> list[CheckpointName]:
        """Those that were never added."""
        with self._wake:
            return [name for name in names if name not in self._owed and name not in self.settled]

    def begin_with(self, manifest: Manifest) -> None:
        """The store has that pair, and it was checked: what is unchanged since need not be sent again."""
        if self._last_stored is None:
            self._last_stored = manifest

    def hurry(self, deadline: float | None) -> None:
        """From now on there is a deadline, on this uploader's clock; or none any more."""
        with self._wake:
            if deadline != self._deadline:
                self._deadline = deadline
                self._make_way()
                self._wake.notify()

    def finalize(self, complete: bool) -> None:
        """Once nothing is owed: run the tasks a last time, mark the run if it is complete, release the lease.

        Where ``finish`` or the store raises Fenced, nothing is reported here, and nothing more is done: the lease
        reports its loss itself. A refusal for good is reported and not tried again.
        """
        with self._wake:
            self._finalize = complete
            self._wake.notify()

    def drop(self) -> None:
        """Commits nothing more: an upload that is under way is given up."""
        with self._wake:
            self._dropped = True
            self._owed.clear()
            if self._transfer is not None:
                self._transfer.give_up()
            self._wake.notify()

    def close(self) -> None:
        """Waits a little for an upload that was given up to clean up behind itself. No further pair is written here."""
        self.drop()
        with contextlib.suppress(RuntimeError):  # never started, or the caller is its thread
            self._thread.join(_PATIENCE)
        with contextlib.suppress(OSError):
            self._spool.drop_retired()

    def _describe(self, name: CheckpointName) -> Owed:
        try:
            manifest = self._spool.manifest(name)
        except (InvalidPair, OSError):
            return Owed(name, 0, lasting=True)  # the upload will say what is wrong
        return Owed(name, manifest.size, manifest.lasting, manifest.needs)

    def _make_way(self) -> None:
        """Gives up the upload under way if the newest pair would come too late behind it. Call with the lock."""
        left, transfer = self.seconds_left(), self._transfer
        if left is None or transfer is None or not self._owed:
            return
        newest = max(self._owed.values(), key=lambda one: one.rank)
        rate = transfer.rate(self._rate.value)
        if newest.name != transfer.owed.name and must_give_way(transfer.rest, newest.size, rate, left):
            transfer.give_up()

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._dropped:
            try:
                if (job := self._next()) is None:
                    continue
                job()
            except GivenUp:
                continue
            except Fenced:  # the lease reports it
                self.drop()
            except Exception as error:  # a defect, too: without this thread nothing would be stored any more
                self._wait_out(error)
            else:
                self._failures = 0

    def _next(self) -> Job | None:
        """The next job; waits for one, but not longer than a task may wait."""
        with self._wake:
            one = next_upload(self._owed.values(), self._newest, self._rate.value, self.seconds_left())
            if one is not None:
                chosen = one
                return lambda: self._upload(chosen)
            if self._owed:
                return self._leave_behind
            if self._finalize is not None:
                return self._conclude
            now = self._clock()
            for turn in self._tasks if self._deadline is None else ():
                if (next_job := turn.job(now)) is not None:
                    task_job, due = next_job, turn
                    return lambda: self._run_task(due, task_job)
            self._wake.wait(1.0)
        return None

    def _wait_out(self, error: Exception) -> None:
        self._failures += 1
        wait = self._backoff.delay(self._failures, random.random())
        self._listener.failing(_error_text(error), wait)
        with self._wake:
            if not self._dropped:
                self._wake.wait(wait)

    def _upload(self, owed: Owed) -> None:
        name = owed.name
        self._prepare(name)
        with self._wake:
            if name not in self._owed:
                return
            transfer = self._transfer = PairTransfer(owed, self._clock)
            self._make_way()
        new = name.incarnation == self._incarnation and name not in self._tried
        self._tried.add(name)
        last = self._last_stored
        earlier = None if last is None else EarlierPair(last, transfer.copy, self._listener.cannot_copy)
        try:
            manifest = store_pair(self._store, self._spool, name, transfer.progress, new, earlier)
        except (InvalidPair, Conflict, SourceError) as error:
            self.lost.add(name)
            self._settle(name)
            self._listener.lost(name, str(error))
            return
        finally:
            with self._wake:
                self._transfer = None
        self._rate.learn(transfer.pace)
        self._newest = max(self._newest, name.order)
        self._last_stored = manifest
        self._settle(name)
        self._listener.stored(name, manifest.size, transfer.copied, transfer.seconds)
        with contextlib.suppress(OSError):  # a full disk: the pair counts as not stored when room is needed
            self._spool.mark_stored(name)
        for turn in self._tasks:
            turn.task.stored(manifest)
        self._tidy()

    def _prepare(self, name: CheckpointName) -> None:
        """What belongs into the store before that pair. Where a deadline is set, the pair is worth more."""
        if self._deadline is not None:
            return
        try:
            manifest = self._spool.manifest(name)
        except (InvalidPair, OSError):  # the upload will say what is wrong
            return
        self._preparing = True
        try:
            for turn in self._tasks:
                turn.task.prepare(manifest)
        except (StoreError, Fenced):
            raise
        except Exception as error:  # a defect, too: the pair must not wait for it
            self._listener.failing(_error_text(error), 0.0)
        finally:
            self._preparing = False

    def _settle(self, name: CheckpointName) -> None:
        with self._wake:
            self._owed.pop(name, None)
            self.settled.add(name)

    def _tidy(self) -> None:
        """Keeps a few pairs on this machine, and all that the store may lack: some may not have been added yet."""
        here, stored, in_use = self._spool.pairs(), self._spool.stored(), self._in_use()
        if in_use is None:
            return
        with self._wake:
            settled = self.settled.union(self._spare, stored).difference(self._owed)
        for old in self._keep.expendable(here, {*in_use, *set(here).difference(settled)}):
            if old in stored:
                self._spool.retire(old)
            else:  # it may be damaged
                self._spool.remove(old)

    def _leave_behind(self) -> None:
        """None of those that are still owed can make it before the deadline."""
        with self._wake:
            behind = list(self._owed)
            self._owed.clear()
        for name in behind:
            self._listener.left_behind(name)

    def _run_task(self, turn: ScheduledTask, job: Job) -> None:
        """a task that fails waits for its next turn; it delays no other task and no pair."""
        try:
            job()
        except Fenced:
            raise
        except Exception as error:
            wait = turn.postpone(self._clock(), self._backoff)
            self._listener.failing(_error_text(error), wait)
        else:
            turn.failures = 0

    def _conclude(self) -> None:
        assert self._finalize is not None
        for turn in self._tasks:
            if self._deadline is not None and not turn.task.vital:
                continue
            closing = Closing(self._finalize, self._deadline)
            while (job := turn.task.job(self._clock(), closing)) is not None:
                if self._dropped:
                    return
                job()
        self._listener.finalized(self._refusal(self._finalize))
        self._dropped = True

    def _refusal(self, complete: bool) -> str:
        try:
            self._finish(complete)
        except Permanent as error:
            return str(error)
        return ""


def _error_text(error: Exception) -> str:
    """A defect with its type as well: its text alone says little."""
    return str(error) if isinstance(error, StoreError | OSError) else repr(error)

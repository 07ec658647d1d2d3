"""Opens the run: finds it in the store, takes its folder and its lease, and lists its pairs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ...core.artifacts import FOLDER, INDEX_FILE, MOST_INDEX_BYTES
from ...core.checkpoint_name import CheckpointName
from ...core.errors import HoldfastError, Permanent, one_line
from ...core.event_sink import EventSink
from ...core.preload import Preload
from ...core.runs import COMPLETE_FILE, LEASE_FILE, RUN_FILE, RunId
from ...core.wording import count
from ...spool import Board, Spool, only_here
from ...store import SMALL, Store
from ...store.at_once import at_once
from ...store.catalog import FoundRun, find_run, is_complete
from ..settings import RunSettings
from .candidates import Candidates, candidates, mark_stored, owed
from .fenced_store import FencedStore
from .folder_owner import check_home, claim, of_another_store
from .fork import Fork
from .fork_once import ForkOnce
from .lease import Lease, RemembersConditions
from .lease_record import LeaseRecord
from .max_hours import TooOld, seconds_left
from .prefetched_store import ReadAhead
from .reopen import Reopened
from .store_retry import StoreRetry


@dataclass(frozen=True)
class Prepared:
    """The lease is held. ``found`` are the run's pairs, here and in the store.

    ``owed`` are those that an earlier start left here and never stored. ``over`` says that the run is too old: there is
    nothing to do but to store what is owed.
    """

    run: RunId
    spool: Spool
    incarnation: int
    found: Candidates
    owed: tuple[CheckpointName, ...]
    over: str = ""


@dataclass(frozen=True)
class OpenRun:
    """``store`` is the run's, for its holder: all that is written or deleted goes through it. ``ahead`` is below it."""

    run: RunId
    spool: Spool
    lease: Lease
    ahead: ReadAhead
    store: Store

    def prepared(self, found: Candidates, over: str = "") -> Prepared:
        mark_stored(self.spool, set(found.local) & set(found.stored))
        pending = tuple(owed(self.spool, found))
        return Prepared(self.run, self.spool, self.lease.incarnation, found, pending, over)


class RunOpener:
    """Used once. The folder's lock and the lease last until ``held`` is closed; ``clock`` and ``gang`` are the lease's.

    ``complete`` is the run where there is nothing to do. ``begun`` says that it is a new one, which this start began.
    """

    def __init__(
        self,
        settings: RunSettings,
        store: Store,
        retry: StoreRetry,
        forks: ForkOnce,
        say: EventSink,
        attach: Callable[[Path], None],
        on_lease_lost: Callable[[str], None],
        on_out_of_time: Callable[[], None],
        on_waiting: Callable[[Spool, Preload], None],
        held: contextlib.ExitStack,
        clock: Callable[[], float],
        gang: Mapping[str, Any] | None = None,
    ) -> None:
        self._settings = settings
        self._gang = gang
        self._store = store
        self._retry = retry
        self._forks = forks
        self._say = say
        self._attach = attach
        self._on_lease_lost = on_lease_lost
        self._on_out_of_time = on_out_of_time
        self._on_waiting = on_waiting
        self._held = held
        self._clock = clock
        self._waiting_for = ""
        self.complete: RunId | None = None
        self.begun = False

    def open(self, fork: Fork | None) -> tuple[OpenRun, Prepared] | None:
        """None if the run is complete. ``fork`` is what it is to continue from by ``--from``. Raises HoldfastError."""
        patiently = self._retry.patiently
        called = self._retry.first_contact(lambda: find_run(self._store, self._settings.name, self._check_home))
        self.begun = called.begun is not None
        run, reopen = called.run, self._settings.extend or fork is not None
        ahead = self._look_ahead(called)
        if not reopen and patiently(lambda: is_complete(ahead, run)):
            self._say("complete", run=str(run))
            self.complete = run
            return None
        over = self._limit_age(ahead, run)
        spool, unknown = self._take_folder(ahead, run)
        if self.begun:
            self._report_elsewhere(run)
        lease = self._take_lease(ahead, run, spool)
        store: Store = FencedStore(ahead, lease)
        self._look_again(ahead, called, lease, store)
        if self._forks.is_done(str(run), patiently):  # by another machine, while this one waited
            fork = None
        if self._settings.extend or fork is not None:
            store = Reopened(store, run)
        elif patiently(lambda: is_complete(ahead, run)):
            patiently(lease.release)
            self.complete = run
            return None
        found = patiently(lambda: candidates(ahead, spool))
        if unknown:
            self._report_unknown(run, spool, found)
        if fork is not None and not over:
            self._forks.adopt(run, spool, fork, lease.incarnation, found.next_save, store)
            found = patiently(lambda: candidates(ahead, spool))
        opened = OpenRun(run, spool, lease, ahead, store)
        return opened, opened.prepared(found, over)

    def _look_ahead(self, called: FoundRun) -> ReadAhead:
        """All that is read before the lease is taken, in one round trip; of a run that was begun just now, in none."""
        run = called.run
        ahead = ReadAhead(self._store, lasting={f"{run}/{RUN_FILE}"})
        objects = [f"{run}/{file}" for file in (RUN_FILE, COMPLETE_FILE, LEASE_FILE)]
        if called.begun is None:
            ahead.read(dict.fromkeys(objects, SMALL), [f"{run}/model-"])
        else:
            ahead.know({**dict.fromkeys(objects), objects[0]: called.begun}, [f"{run}/model-"])
        return ahead

    def _look_again(self, ahead: ReadAhead, called: FoundRun, lease: Lease, store: Store) -> None:
        """What is there under the lease, in one round trip.

        Only now: a drain that was under way while this machine waited has stored its pair. In a run that was begun just
        now, whose first lease this is, nobody can have written anything.
        """
        run = called.run
        objects = {f"{run}/{COMPLETE_FILE}": SMALL}
        prefixes = [f"{run}/model-"]
        if self._settings.artifacts.total:
            objects[f"{run}/{INDEX_FILE}"] = MOST_INDEX_BYTES
            prefixes.append(f"{run}/{FOLDER}/")
        if called.begun is not None and lease.incarnation == 1:
            ahead.know(dict.fromkeys(objects), prefixes)
        else:
            at_once(self._store, (partial(ahead.read, objects, prefixes), partial(self._sweep, run, store)))

    def _check_home(self, run: RunId) -> None:
        check_home(self._store, run, self._settings.work_dir / str(run))

    def _limit_age(self, store: Store, run: RunId) -> str:
        """Stops what becomes too old. A run that is too old already is opened only to store what it left here.

        Raises TooOld, or returns its text in that case; empty is the usual one.
        """
        hours = self._settings.max_hours
        if hours is None:
            return ""
        try:
            seconds = self._retry.patiently(lambda: seconds_left(store, run, hours, datetime.now(UTC)))
        except TooOld as error:
            if only_here(self._settings.work_dir, str(run)) is None:
                raise
            return str(error)
        timer = threading.Timer(seconds, self._on_out_of_time)
        timer.daemon = True
        timer.start()
        self._held.callback(timer.cancel)
        return ""

    def _take_folder(self, store: Store, run: RunId) -> tuple[Spool, bool]:
        """Also says whether pairs are here of which it isn't known that they are this run's."""
        spool = Spool(self._settings.work_dir / str(run))
        self._held.enter_context(spool.lock())
        spool.check()
        unknown = self._retry.patiently(lambda: claim(store, run, spool))
        self._attach(spool.file("events.jsonl"))
        spool.sweep()
        return spool, unknown

    def _take_lease(self, store: Store, run: RunId, spool: Spool) -> Lease:
        found = self._retry.patiently(lambda: candidates(store, spool))
        lease = Lease(
            store,
            f"{run}/{LEASE_FILE}",
            spool.identity(),
            self._settings.lease,
            self._on_lease_lost,
            self._clock,
            self._report_defect,
            self._settings.group,
            self._store if isinstance(self._store, RemembersConditions) else None,
            self._gang,
            signs_of_work(spool),
        )
        waiting = partial(self._wait, lease, spool)
        self._retry.patiently(lambda: lease.acquire(found.incarnation, self._retry.cancelled, waiting))
        try:
            self._retry.start_thread(lease.keep)
        except HoldfastError:
            with contextlib.suppress(HoldfastError):
                lease.release()
            raise
        self._held.callback(lease.stop)
        self._say("lease", run=str(run), incarnation=lease.incarnation)
        self._report_last_heartbeat(lease.before)
        return lease

    def _sweep(self, run: RunId, store: Store) -> None:
        """Unfinished uploads of dead machines cost money; that they can't be cleared is no reason not to train."""
        try:
            self._retry.patiently(lambda: store.sweep(f"{run}/"))
        except Permanent as error:
            self._say("passed-over", f"unfinished uploads cannot be cleared: {error}", warning=True)

    # --- events ----------------------------------------------------------------------------------------------------

    def _report_elsewhere(self, run: RunId) -> None:
        """A wrong letter in --store begins a run from zero. One of the same id was refused before this."""
        found = of_another_store(self._store, run, self._settings.work_dir)
        if found is not None:
            other, uri = found
            text = (
                f"run {run} begins anew in '{self._store.uri}', while {other} in this work dir is of "
                f"'{one_line(uri)}'; to continue that one, correct --store"
            )
            self._say("elsewhere", text, warning=True)

    def _report_unknown(self, run: RunId, spool: Spool, found: Candidates) -> None:
        number = len(set(found.local) - set(found.stored))
        if number:
            text = (
                f"run {run}: {spool.path} has {count(number, 'checkpoint')} of an earlier run here, which the store "
                "lacks: they are taken for this run's"
            )
            self._say("earlier-here", text, warning=True, checkpoints=number)

    def _report_last_heartbeat(self, before: LeaseRecord | None) -> None:
        """Of a holder that did not give the lease back: its last events may be on its disk alone."""
        for incarnation, beat in ({} if before is None else before.heartbeat).items():
            self._say(
                "last-heartbeat",
                incarnation=incarnation,
                seen=beat.at,
                step=beat.number("step"),
                executed=beat.number("executed"),
                validated=beat.number("validated"),
            )

    def _report_defect(self, error: Exception) -> None:
        self._say("store-away", f"the lease is not renewed: {error!r}; trying again", warning=True)

    def _wait(self, lease: Lease, spool: Spool, holder: str) -> None:
        first = not self._waiting_for
        self._report_waiting(lease, holder)
        if first and lease.preload_before is not None:
            self._on_waiting(spool, lease.preload_before)

    def _report_waiting(self, lease: Lease, holder: str) -> None:
        self._retry.answered()
        if holder != self._waiting_for:
            self._waiting_for = holder
            text = (
                f"waiting for the lease: it is held by {holder}; it is taken over when that one has been silent for "
                f"{lease.silence:g} s, or at once when it is released (at most --lease-wait "
                f"{self._settings.lease.wait:g} s)"
            )
            self._say("waiting", text)


def signs_of_work(spool: Spool, wall: Callable[[], float] = time.time) -> Callable[[], Mapping[str, Any]]:
    """What the lease says of this machine's work, at each heartbeat. Before its command's first batch the board is an
    earlier start's.
    """
    board = spool.file(Board.FILE)
    before = Board.read(board).executed

    def sign() -> Mapping[str, Any]:
        found: dict[str, Any] = {"seen": round(wall(), 3)}
        with contextlib.suppress(OSError):
            now = Board.read(board)
            if now.executed > before:
                found |= {"step": now.step, "executed": now.executed, "validated": round(now.validated, 3)}
        return found

    return sign

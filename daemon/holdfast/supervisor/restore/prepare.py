"""All that stands between 'start' and the command: the run, its folder, the lease, the newest valid pair."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from ...core.errors import Cancelled, Conflict, Fenced, Permanent, StoreError, Transient
from ...core.manifest import CheckpointName, Manifest
from ...core.policy import Backoff
from ...core.runs import COMPLETE_FILE, LEASE_FILE, RunId
from ...core.wording import count
from ...spool import Spool, only_here
from ...store import Store
from ...store.catalog import find_run, is_complete
from ..options import changes
from ..report.journal import Journal
from ..settings import RunSettings
from ..upload.commit import store_pair
from .candidates import Candidates, bring_newest, candidates, is_whole, mark_stored, owed
from .folder_owner import check_home, claim
from .fork import Fork, adopt, done_before, fetch, locate, note, waiting_room
from .lease import Lease
from .max_hours import OutOfTime, seconds_left
from .reopen import Reopened

T = TypeVar("T")


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


class Preparer:
    """Prepares the first start and every restart. Its lease and lock last until ``close``."""

    def __init__(
        self,
        settings: RunSettings,
        store: Store,
        journal: Journal,
        on_lease_lost: Callable[[str], None],
        on_out_of_time: Callable[[], None],
        origin: Mapping[str, Any],
    ) -> None:
        self._settings = settings
        self._store = store
        self._journal = journal
        self._on_lease_lost = on_lease_lost
        self._on_out_of_time = on_out_of_time
        self._origin = origin
        self._uploads_to = store
        self._held = contextlib.ExitStack()
        self._run: RunId | None = None
        self._spool: Spool | None = None
        self._resumed: CheckpointName | None = None
        self._waiting_for = ""
        self._told_of_fork = self._marked = False
        self._failures = 0  # of the store, in a row
        self.lease: Lease | None = None
        self.cancelled = threading.Event()

    @property
    def uploads_to(self) -> Store:
        """The store, as it takes new pairs of the run that was prepared."""
        return self._uploads_to

    def prepare(self, avoid: Collection[str] = ()) -> Prepared | None:
        """None if the run is complete. Pairs to ``avoid`` are of no use for a restart. Raises HoldfastError."""
        if self._run is None or self._spool is None or self.lease is None:
            return self._first()
        return self._prepared(self._run, self._spool, self.lease, self._known(self._spool, avoid))

    def bring(self, prepared: Prepared, avoid: Collection[str]) -> Manifest | None:
        """The newest valid pair, whole in the spool; None if the run has none. Pairs to ``avoid`` are passed over.

        Raises HoldfastError.
        """
        run, spool, found = prepared.run, prepared.spool, prepared.found
        resume = self._patiently(lambda: bring_newest(self._store, spool, found, self._warn, avoid))
        if resume is None:
            self._journal.event("fresh", f"run {run}: starting from the beginning")
            return None
        self._journal.event(
            "restored",
            f"run {run}: going on from epoch {resume.name.epoch}, batch {resume.batch} (step {resume.name.step})",
            checkpoint=str(resume.name),
            local=resume.name in found.local,
        )
        self._report_changes(resume)
        self._resumed = resume.name
        return resume

    def finish(self, complete: bool) -> None:
        """Marks a complete run, and gives the lease back. Raises Fenced, and tells of it, if another has the lease.

        Permanent means that there is no mark and never will be. A lease that cannot be given back expires.
        """
        assert self.lease is not None
        if complete and not self._marked:
            self._mark_complete(self.lease)
        with contextlib.suppress(Permanent):
            self.lease.release()

    def close(self) -> None:
        self.cancelled.set()
        if self.lease is not None:
            self.lease.stop()
        self._held.close()

    def _mark_complete(self, lease: Lease) -> None:
        """Whoever was away for long may have been replaced and not know it: the other goes on with the run."""
        try:
            lease.renew()
        except Fenced as error:
            self._on_lease_lost(str(error))
            raise
        try:
            self._store.create(f"{self._run}/{COMPLETE_FILE}", b'{"format": 1}\n')
        except Conflict:
            self._tell_nothing_new()
        self._marked = True

    def _tell_nothing_new(self) -> None:
        """A reopened run that is still marked as complete has been given no new pair."""
        if isinstance(self._uploads_to, Reopened) and not self._uploads_to.has_new:
            text = "--extend: nothing more was trained: does the script ask for more epochs than the run had?"
            self._journal.event("nothing-new", f"run {self._run}: {text}", warning=True)

    def _first(self) -> Prepared | None:
        with contextlib.ExitStack() as room:
            return self._begin(self._fork(room))

    def _begin(self, fork: Fork | None) -> Prepared | None:
        reopen = self._settings.extend
        run, complete = self._reach(
            lambda: find_run(self._store, self._settings.name, reopen or fork is not None, self._check_home)
        )
        if complete:
            self._journal.event("complete", run=str(run))
            return None
        over = self._limit(run)
        spool = Spool(self._settings.work_dir / str(run))
        self._held.enter_context(spool.lock())
        spool.check()
        unknown = self._patiently(lambda: claim(self._store, run, spool))
        self._journal.attach(spool.file("events.jsonl"))
        spool.sweep()
        found = self._patiently(lambda: candidates(self._store, spool))
        lease = Lease(
            self._store,
            f"{run}/{LEASE_FILE}",
            spool.identity(),
            self._settings.lease,
            self._on_lease_lost,
            on_defect=self._say_defect,
        )
        waiting = partial(self._say_waiting, lease)
        self._patiently(lambda: lease.acquire(found.incarnation, self.cancelled, waiting))
        lease.keep()
        self._run, self._spool, self.lease = run, spool, lease
        self._journal.event("lease", run=str(run), incarnation=lease.incarnation)
        if self._forked_before(str(run)):  # by another machine, while we waited
            fork = None
        if self._patiently(lambda: self._completed_meanwhile(run, reopen or fork is not None)):
            self._patiently(lease.release)
            return None
        self._sweep(run)
        # Only now: a drain that was going on while we waited has stored its pair.
        found = self._patiently(lambda: candidates(self._store, spool))
        if unknown:
            self._tell_unknown(run, spool, found)
        if over:
            return replace(self._prepared(run, spool, lease, found), over=over)
        if fork is not None:
            self._adopt(run, spool, fork, lease.incarnation, found.next_save)
            found = self._patiently(lambda: candidates(self._store, spool))
        return self._prepared(run, spool, lease, found)

    def _check_home(self, run: RunId) -> None:
        check_home(self._store, run, self._settings.work_dir / str(run))

    def _tell_unknown(self, run: RunId, spool: Spool, found: Candidates) -> None:
        number = len(set(found.local) - set(found.stored))
        if number:
            text = (
                f"run {run}: {spool.path} has {count(number, 'checkpoint')} of an earlier run here, which the store "
                "lacks: they are taken for this run's"
            )
            self._journal.event("earlier-here", text, warning=True, checkpoints=number)

    def _fork(self, room: contextlib.ExitStack) -> Fork | None:
        """What to go on from by ``--from``, here and whole before anything is begun; None if that was done before."""
        source, store, target = self._settings.source, self._store, self._settings.name
        if source is None or self._forked_before(target):
            return None
        found = self._reach(lambda: locate(store, source))
        spool = room.enter_context(waiting_room(self._settings.work_dir, found, target))
        return self._patiently(lambda: fetch(store, source, found, spool))

    def _forked_before(self, target: str) -> bool:
        source, reach = self._settings.source, self._reach if self.lease is None else self._patiently
        if source is None:
            return False
        mark = reach(lambda: done_before(self._store, source, target))
        if mark is not None and not self._told_of_fork:
            self._told_of_fork = True
            text = f"--from {source} was done before: going on with the run (delete {mark} to do it again)"
            self._journal.event("forked-before", text)
        return mark is not None

    def _adopt(self, run: RunId, spool: Spool, fork: Fork, incarnation: int, save: int) -> None:
        manifest = adopt(fork, spool, incarnation, save, self._store.durable_spool)
        self._patiently(lambda: store_pair(self._uploads_to, spool, manifest.name))
        with contextlib.suppress(Conflict):
            self._patiently(lambda: note(self._store, run, fork.found, manifest))
        text = f"run {run}: going on {manifest.reason}"
        self._journal.event("forked", text, checkpoint=str(manifest.name))

    def _sweep(self, run: RunId) -> None:
        """Unfinished uploads of dead machines cost money; that they can't be cleared is no reason not to train."""
        try:
            self._patiently(lambda: self._store.sweep(f"{run}/"))
        except Permanent as error:
            self._warn(f"unfinished uploads cannot be cleared: {error}")

    def _limit(self, run: RunId) -> str:
        """Stops what becomes too old. A run that is too old already is begun only to store what it left here.

        Raises OutOfTime, or returns its text in that case; empty is the usual one.
        """
        hours = self._settings.max_hours
        if hours is None:
            return ""
        try:
            left = self._patiently(lambda: seconds_left(self._store, run, hours, datetime.now(UTC)))
        except OutOfTime as error:
            if only_here(self._settings.work_dir, str(run)) is None:
                raise
            return str(error)
        timer = threading.Timer(left, self._on_out_of_time)
        timer.daemon = True
        timer.start()
        self._held.callback(timer.cancel)
        return ""

    def _completed_meanwhile(self, run: RunId, reopen: bool) -> bool:
        if reopen:
            self._uploads_to = Reopened(self._store, run)
            return False
        return is_complete(self._store, run)

    def _prepared(self, run: RunId, spool: Spool, lease: Lease, found: Candidates) -> Prepared:
        mark_stored(spool, set(found.local) & set(found.stored))
        return Prepared(run, spool, lease.incarnation, found, tuple(owed(spool, found)))

    def _report_changes(self, resume: Manifest) -> None:
        """Two starts of one command may end differently for reasons outside of it."""
        found = changes(resume.origin, self._origin)
        if found:
            text = f"not as it was when the checkpoint was made: {'; '.join(found)}. The result may differ"
            self._journal.event("origin-changed", text, warning=True, changes=found)

    def _known(self, spool: Spool, avoid: Collection[str]) -> Candidates:
        """For a restart after a crash, what is on this machine will do if the store is away, and nothing is lost so."""
        try:
            return candidates(self._store, spool)
        except StoreError:
            here = spool.pairs()
            if any(self._will_do(spool, name) for name in here if str(name) not in avoid):
                return Candidates((), tuple(here))
        return self._patiently(lambda: candidates(self._store, spool))

    def _will_do(self, spool: Spool, name: CheckpointName) -> bool:
        as_new = self._resumed is None or name.order >= self._resumed.order
        return as_new and name.finite and is_whole(spool, name)

    def _warn(self, text: str) -> None:
        self._journal.event("passed-over", text, warning=True)

    def _say_defect(self, error: Exception) -> None:
        self._journal.event("store-away", f"the lease is not renewed: {error!r}; trying again", warning=True)

    def _say_waiting(self, lease: Lease, holder: str) -> None:
        self._failures = 0  # the store has answered: this is no outage that goes on
        if holder != self._waiting_for:
            self._waiting_for = holder
            text = (
                f"waiting for the lease: it is held by {holder}; it is taken over when that one has been silent for "
                f"{lease.silence:g} s, or at once when it is released (at most --lease-wait "
                f"{self._settings.lease.wait:g} s)"
            )
            self._journal.event("waiting", text)

    def _reach(self, call: Callable[[], T]) -> T:
        """The first contact: a store that is not there for ``store_wait`` seconds is taken for a wrong setting."""
        return self._retry(call, time.monotonic() + self._settings.store_wait)

    def _patiently(self, call: Callable[[], T]) -> T:
        """After the first contact an outage is waited out."""
        return self._retry(call, float("inf"))

    def _retry(self, call: Callable[[], T], until: float) -> T:
        self._failures = 0
        while True:
            try:
                return call()
            except Transient as error:
                self._failures += 1
                wait = Backoff(first=0.5, most=10.0).delay(self._failures, 0.5)
                if time.monotonic() + wait >= until:
                    raise
                self._journal.event("store-away", f"{error}; trying again", warning=True)
                if self.cancelled.wait(wait):
                    raise Cancelled("gave up waiting for the store") from None

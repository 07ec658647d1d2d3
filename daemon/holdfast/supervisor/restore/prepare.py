"""What happens before the command starts: the run is opened, and its newest valid pair is brought here."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ...core.checkpoint_name import CheckpointName
from ...core.errors import Conflict, NoValidPair, Permanent, StoreError
from ...core.event_sink import EventSink
from ...core.manifest import LAST_EPOCH, Manifest
from ...core.preload import Preload
from ...core.runs import COMPLETE_FILE, RunId
from ...core.wording import fit_text
from ...spool import Spool
from ...store import Store
from ..settings import RunSettings
from .candidates import Candidates, bring_newest, bring_pair, candidates, is_whole
from .fork_once import ForkOnce, StorePair
from .lease import Lease, boot_time
from .opening import OpenRun, Prepared, RunOpener
from .reopen import Reopened
from .store_retry import StoreRetry


class Preparer:
    """Prepares the first start and every restart. Its lease and lock last until ``close``.

    ``attach`` is called with the path of events.jsonl once the run's folder is known. ``on_lease_lost`` is called with
    the new holder, ``on_out_of_time`` when the run reaches ``max_hours``; both in threads of their own. ``on_waiting``
    is called once when another machine has the lease, and it is known what its command imports.
    ``cancelled`` is set by ``close``: what waits for the store or the lease gives up. ``clock`` and
    ``gang`` are the lease's.
    """

    def __init__(
        self,
        settings: RunSettings,
        store: Store,
        say: EventSink,
        attach: Callable[[Path], None],
        store_pair: StorePair,
        on_lease_lost: Callable[[str], None],
        on_out_of_time: Callable[[], None],
        cancelled: threading.Event | None = None,
        clock: Callable[[], float] = boot_time,
        on_waiting: Callable[[Spool, Preload], None] = lambda spool, preload: None,
        gang: Mapping[str, Any] | None = None,
    ) -> None:
        self._store = store
        self._say = say
        self._held = contextlib.ExitStack()
        self.cancelled = cancelled or threading.Event()
        self._retry = retry = StoreRetry(settings.store_wait, say, self.cancelled)
        self._forks = forks = ForkOnce(settings.source, settings.name, settings.work_dir, store, retry, say, store_pair)
        self._opener = RunOpener(
            settings,
            store,
            retry,
            forks,
            say,
            attach,
            on_lease_lost,
            on_out_of_time,
            on_waiting,
            self._held,
            clock,
            gang,
        )
        self._open: OpenRun | None = None
        self._resumed: CheckpointName | None = None
        self._marked = False

    @property
    def complete(self) -> RunId | None:
        """The run, if it is complete already (``prepare`` returned None for it)."""
        return self._opener.complete

    @property
    def run_store(self) -> Store:
        """For all that is written to the run that was prepared, or deleted from it."""
        assert self._open is not None
        return self._open.store

    @property
    def lease(self) -> Lease | None:
        return None if self._open is None else self._open.lease

    def prepare(self, avoid: Collection[str] = ()) -> Prepared | None:
        """None if the run is complete. Pairs to ``avoid`` are of no use for a restart. Raises HoldfastError."""
        if self._open is not None:
            return self._open.prepared(self._known(self._open.spool, avoid))
        with contextlib.ExitStack() as room:
            opened = self._opener.open(self._forks.fetch(room))
        if opened is None:
            return None
        self._open, prepared = opened
        return prepared

    def bring(self, prepared: Prepared, avoid: Collection[str]) -> Manifest | None:
        """The newest valid pair, whole in the spool; None if the run has none. Pairs to ``avoid`` are passed over.

        Raises HoldfastError.
        """
        if self._open is not None:
            self._open.ahead.forget()  # what nobody asked for in the end
        run, spool, found = prepared.run, prepared.spool, prepared.found
        resume = self._bring_newest(spool, found, avoid)
        if resume is None:
            why = f" (a new run: {self._store.uri} had none of that name)" if self._opener.begun else ""
            self._say("fresh", f"run {run}: starting from the beginning{why}")
            return None
        epoch, step = f"epoch {resume.name.epoch}", f"(step {resume.name.step})"
        at = f"resuming from {fit_text(resume.fit)}{epoch}, batch {resume.batch} {step}"
        if resume.reason == LAST_EPOCH:  # what comes behind that fit is begun, or was
            at = f"its newest checkpoint is the end of fit {resume.fit}: {epoch} {step}"
        self._say(
            "restored",
            f"run {run}: {at}",
            checkpoint=str(resume.name),
            local=resume.name in found.local,
        )
        self._resumed = resume.name
        return resume

    def _bring_newest(self, spool: Spool, found: Candidates, avoid: Collection[str]) -> Manifest | None:
        """Before a run is called without a valid pair, its listing is taken again.

        A drain elsewhere may have stored one since, and somebody may have pruned.
        """
        try:
            return self._retry.patiently(lambda: bring_newest(self._store, spool, found, self._warn, avoid))
        except NoValidPair:
            again = self._retry.patiently(lambda: candidates(self._store, spool))
            passed = {*avoid, *map(str, found.newest_first)}
            if passed.issuperset(map(str, again.newest_first)):
                raise
            return self._bring_newest(spool, again, passed)

    def bring_needed(self, prepared: Prepared, name: CheckpointName) -> None:
        """Makes one more pair of the run present and whole in the spool. Raises HoldfastError if that cannot be."""
        self._retry.patiently(lambda: bring_pair(self._store, prepared.spool, name))

    def start_thread(self, start: Callable[[], None]) -> None:
        """For a thread that the run needs. Raises HoldfastError if the machine has none to give."""
        self._retry.start_thread(start)

    def finish(self, complete: bool) -> None:
        """Marks a complete run and releases the lease.

        Raises Fenced, after ``on_lease_lost`` was called, if another machine has the lease.

        Permanent means that there is no mark and never will be. A lease that cannot be released expires.
        """
        assert self._open is not None
        if complete and not self._marked:
            self._mark_complete(self._open)
        with contextlib.suppress(Permanent):
            self._open.lease.release()

    def close(self) -> None:
        self.cancelled.set()
        self._held.close()

    def _mark_complete(self, opened: OpenRun) -> None:
        """A machine that was away for long may have been replaced and not know it: the other continues the run."""
        opened.lease.renew()
        try:
            opened.store.create(f"{opened.run}/{COMPLETE_FILE}", b'{"format": 1}\n')
        except Conflict:
            self._report_nothing_new(opened)
        self._marked = True

    def _report_nothing_new(self, opened: OpenRun) -> None:
        """A reopened run that is still marked as complete has been given no new pair."""
        if isinstance(opened.store, Reopened) and not opened.store.has_new:
            text = "--extend: nothing more was trained: does the script ask for more epochs than the run had?"
            self._say("nothing-new", f"run {opened.run}: {text}", warning=True)

    def _known(self, spool: Spool, avoid: Collection[str]) -> Candidates:
        """For a restart after a crash, the pairs on this machine are enough if the store is away: nothing is lost."""
        try:
            return candidates(self._store, spool)
        except StoreError:
            here = spool.pairs()
            if any(self._is_enough(spool, name) for name in here if str(name) not in avoid):
                return Candidates((), tuple(here))
        return self._retry.patiently(lambda: candidates(self._store, spool))

    def _is_enough(self, spool: Spool, name: CheckpointName) -> bool:
        as_new = self._resumed is None or name.order >= self._resumed.order
        return as_new and name.finite and is_whole(spool, name)

    def _warn(self, text: str) -> None:
        self._say("passed-over", text, warning=True)

"""``--from``, done once for a run however often the command is started, and by one machine only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...core.checkpoint_name import CheckpointName
from ...core.errors import Conflict
from ...core.event_sink import EventSink
from ...core.runs import ForkSource, RunId
from ...spool import Spool
from ...store import Store
from .fork import Fork, adopt, done_before, fetch, locate, note, waiting_room
from .store_retry import StoreRetry

StorePair = Callable[[Store, Spool, CheckpointName], object]
"""Commits a pair of the spool to the store (upload/store_pair.py)."""


class ForkOnce:
    """``source`` is the checkpoint of ``--from``, if any; ``name`` the run's name or id as it was given."""

    def __init__(
        self,
        source: ForkSource | None,
        name: str,
        work_dir: Path,
        store: Store,
        retry: StoreRetry,
        say: EventSink,
        store_pair: StorePair,
    ) -> None:
        self._source = source
        self._name = name
        self._work_dir = work_dir
        self._store = store
        self._retry = retry
        self._say = say
        self._store_pair = store_pair
        self._reported = False

    def fetch(self, room: contextlib.ExitStack) -> Fork | None:
        """The checkpoint of ``--from``, here and whole before anything else is done; None if that was done before.

        It lies in a folder of its own until ``room`` is left. Raises SettingsError, StoreError.
        """
        source, store = self._source, self._store
        if source is None or self.is_done(self._name, self._retry.first_contact):
            return None
        found = self._retry.first_contact(lambda: locate(store, source))
        spool = room.enter_context(waiting_room(self._work_dir, found, self._name))
        return self._retry.patiently(lambda: fetch(store, source, found, spool))

    def is_done(self, target: str, reach: Callable[[Callable[[], str | None]], str | None]) -> bool:
        """Did the run ``target`` continue from there before? ``reach`` makes the call to the store."""
        source = self._source
        if source is None:
            return False
        mark = reach(lambda: done_before(self._store, source, target))
        if mark is not None and not self._reported:
            self._reported = True
            text = f"--from {source} was done before: resuming the run (delete {mark} to do it again)"
            self._say("forked-before", text)
        return mark is not None

    def adopt(self, run: RunId, spool: Spool, fork: Fork, incarnation: int, save: int, store: Store) -> None:
        """Makes the checkpoint the run's newest pair, here and in the ``store`` of the run's holder, and notes that.

        What it needs comes before it.
        """
        adopted = adopt(fork, spool, incarnation, save, self._store.durable_spool)
        for one in adopted:
            self._retry.patiently(partial(self._store_pair, store, spool, one.name))
        manifest = adopted[-1]
        with contextlib.suppress(Conflict):
            self._retry.patiently(lambda: note(store, run, fork.found, manifest))
        text = f"run {run}: resuming {manifest.reason}"
        self._say("forked", text, checkpoint=str(manifest.name))

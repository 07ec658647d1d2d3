"""Brings pairs and logs to the store, in one thread, with the one retry loop of the system."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..core.errors import Conflict, InvalidPair, NotFound, StoreError
from ..core.manifest import PARTS, CheckpointName
from ..core.policy import Backoff, Retention, next_upload
from ..spool import Spool
from ..store import Store


class Listener(Protocol):
    """What the uploader reports, from its own thread."""

    def stored(self, name: CheckpointName, size: int, seconds: float) -> None: ...
    def lost(self, name: CheckpointName, error: str) -> None: ...
    def failing(self, error: str, retry_in: float) -> None: ...
    def finalized(self) -> None: ...


@dataclass(frozen=True)
class Pace:
    """Seconds between uploads of growing logs, and the waits after a failure."""

    logs: float = 30.0
    backoff: Backoff = Backoff(first=0.5, most=30.0)


class Uploader:
    """Owes pairs to the store and pays them newest first; in between it brings the logs."""

    def __init__(
        self,
        store: Store,
        spool: Spool,
        listener: Listener,
        logs: Callable[[], list[tuple[str, Path]]],
        finish: Callable[[bool], None],
        retention: Retention,
        pace: Pace = Pace(),
    ) -> None:
        self._store = store
        self._spool = spool
        self._listener = listener
        self._logs = logs
        self._finish = finish
        self._retention = retention
        self._pace = pace
        self._wake = threading.Condition()
        self._owed: set[CheckpointName] = set()
        self._extra: dict[str, Path] = {}
        self.paid: set[CheckpointName] = set()
        self._finalize: bool | None = None
        self._dropped = False
        self._failures = 0
        self._logs_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="upload", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def add(self, name: CheckpointName) -> None:
        with self._wake:
            self._owed.add(name)
            self._wake.notify()

    def bring(self, key: str, path: Path) -> None:
        """Stores a file that is not a checkpoint, with the next logs."""
        with self._wake:
            self._extra[key] = path

    def finalize(self, complete: bool) -> None:
        """Once nothing is owed: bring the logs a last time, mark the run if it is complete, release the lease."""
        with self._wake:
            self._finalize = complete
            self._wake.notify()

    def drop(self) -> None:
        """Commits nothing more; a write that is under way may still end."""
        with self._wake:
            self._dropped = True
            self._owed.clear()
            self._wake.notify()

    def _run(self) -> None:
        while not self._dropped:
            job = self._next()
            if job is None:
                continue
            try:
                job()
            except (StoreError, OSError) as error:
                self._wait_out(error)
            else:
                self._failures = 0

    def _next(self) -> Callable[[], None] | None:
        """The next thing to do; waits for one, but not longer than the logs may wait."""
        with self._wake:
            name = next_upload(self._owed)
            if name is not None:
                return lambda: self._pay(name)
            if self._finalize is not None:
                return self._conclude
            until = self._logs_at + self._pace.logs
            if time.monotonic() >= until:
                return self._bring_logs
            self._wake.wait(until - time.monotonic())
        return None

    def _wait_out(self, error: Exception) -> None:
        self._failures += 1
        wait = self._pace.backoff.delay(self._failures, random.random())
        self._listener.failing(str(error), wait)
        with self._wake:
            if not self._dropped:
                self._wake.wait(wait)

    def _pay(self, name: CheckpointName) -> None:
        began = time.monotonic()
        try:
            size = store_pair(self._store, self._spool, name)
        except (InvalidPair, Conflict, OSError) as error:
            self._settle(name)
            self.paid.add(name)  # never again: it cannot be stored
            self._listener.lost(name, str(error))
            return
        self._settle(name)
        self.paid.add(name)
        self._listener.stored(name, size, time.monotonic() - began)
        with self._wake:
            owed = set(self._owed)
        for old in self._retention.expendable(self._spool.pairs(), owed):
            self._spool.remove(old)

    def _settle(self, name: CheckpointName) -> None:
        with self._wake:
            self._owed.discard(name)

    def _bring_logs(self) -> None:
        self._logs_at = time.monotonic()
        grown = dict(self._logs())
        with self._wake:
            due, self._extra = {**self._extra, **grown}, {}
        try:
            while due:
                key, path = next(iter(due.items()))
                if path.is_file():
                    self._store.put(key, path)
                del due[key]
        finally:
            with self._wake:
                self._extra = {**due, **self._extra}  # what failed is brought with the next logs

    def _conclude(self) -> None:
        self._bring_logs()
        assert self._finalize is not None
        self._finish(self._finalize)
        self._dropped = True
        self._listener.finalized()


def store_pair(store: Store, spool: Spool, name: CheckpointName) -> int:
    """Data first, manifest last and create-only (design invariant 1). Returns the bytes stored.

    Raises InvalidPair or OSError if the pair in the spool is no good, Conflict if the name is another pair's, and the
    store's other errors.
    """
    manifest = spool.manifest(name)
    for part, record in manifest.files.items():
        if spool.file(name.file(part)).stat().st_size != record.size:
            raise InvalidPair(f"{name}: its .{part} is not what its manifest says")
    key, data = f"{spool.run}/{name.file('json')}", manifest.to_json()
    if not _is_stored(store, key, data):  # the data of a pair that exists is never written again
        for part in PARTS:
            store.put(f"{spool.run}/{name.file(part)}", spool.file(name.file(part)))
        try:
            store.create(key, data)
        except Conflict:
            _is_stored(store, key, data)
    return manifest.size


def _is_stored(store: Store, key: str, data: bytes) -> bool:
    """True if this very manifest is there: an earlier try arrived, and only its answer was lost.

    Raises Conflict if another pair has the name.
    """
    try:
        there, _ = store.get(key)
    except NotFound:
        return False
    if there != data:
        raise Conflict(f"{key} is another pair's manifest")
    return True

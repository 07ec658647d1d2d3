"""One writer for a run: a lease object in the store, with an incarnation number that only grows.

A holder renews it by conditional writes. A machine that waits for it counts the expiry from the last change that it saw
itself (lease_observer.py). A holder that was replaced finds out at its next renewal, which fails.

Source: C. Gray and D. Cheriton, 'Leases', SOSP 1989; the fencing by a growing number is that of Chubby (OSDI 2006).
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ...core.errors import Cancelled, Conflict, Fenced, StoreError
from ...core.policy import LeaseTimes
from ...store import Store
from .lease_observer import LeaseObserver
from .lease_record import LeaseRecord, read_lease

_JOIN_SECONDS = 1.0
_RETRY_SHARE = 0.2
"""A renewal that failed is repeated after this share of a heartbeat."""


def boot_time() -> float:
    """Seconds on a clock that runs while the machine is suspended (a hibernated holder has lost its lease)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """Acquired once, renewed by a thread of its own until it is released or lost.

    ``on_lost`` is called with the new holder, ``on_defect`` with an error that is no StoreError; both in that thread.
    """

    def __init__(
        self,
        store: Store,
        key: str,
        spool_id: str,
        times: LeaseTimes,
        on_lost: Callable[[str], None],
        clock: Callable[[], float] = boot_time,
        on_defect: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._store = store
        self._key = key
        self._times = times
        self._observer = LeaseObserver(store, key, times.expiry, clock)
        self._heartbeat = Heartbeat(times.heartbeat, self.renew, on_lost, on_defect)
        self._mine = LeaseRecord(
            "held", holder=secrets.token_hex(8), host=socket.gethostname(), spool=spool_id, expiry=times.expiry
        )
        self._tag = ""
        self._renewing = threading.Lock()
        self._released = False

    @property
    def incarnation(self) -> int:
        """0 before the lease is acquired."""
        return self._mine.incarnation

    @property
    def silence(self) -> float:
        """After how many seconds without a sign of life the present holder is taken for dead."""
        return self._observer.silence

    def acquire(self, floor: int, cancelled: threading.Event, waiting: Callable[[str], None]) -> int:
        """Takes the lease and returns the incarnation, which is greater than ``floor``.

        Waits while another holder renews it; raises Fenced after ``times.wait``, Cancelled once ``cancelled`` is set,
        StoreError when the store fails. Called again after that, it counts on from what it has seen so far.
        """
        while True:
            record, tag = self._observer.look()
            last = record.incarnation if record is not None else 0
            if self._observer.is_free(record, str(self._mine.spool)) and self._take(max(floor, last) + 1, tag):
                return self.incarnation
            if self._observer.waited >= self._times.wait:
                raise Fenced(f"the lease is held by {record} (--lease-wait {self._times.wait:.0f} s is over)")
            waiting(str(record or LeaseRecord(readable=False)))
            if cancelled.wait(min(1.0, self._times.expiry / 10)):
                raise Cancelled("gave up waiting for the lease")

    def renew(self) -> None:
        """One heartbeat, from any thread. Raises Fenced if the lease is another's by now, StoreError."""
        with self._renewing:
            self._mine = replace(self._mine, beat=self._mine.beat + 1)  # a tag may be a hash: each beat must differ
            try:
                self._tag = self._store.replace(self._key, self._mine.to_json(), self._tag)
            except Conflict:
                self._recover()

    def keep(self) -> None:
        """Starts renewing in the background."""
        self._heartbeat.start()

    def keep_until(self, done: threading.Event) -> None:
        """Renews in the caller's thread until ``done`` is set, or the lease is another's."""
        self._heartbeat.beat_until(done)

    def stop(self) -> None:
        """Ends the renewing and leaves the lease as it is: it will expire."""
        self._heartbeat.stop()

    def release(self) -> None:
        """Gives the lease back, so that a replacement need not wait for the expiry. Raises StoreError."""
        self.stop()
        if self.incarnation and not self._released:
            try:
                self._store.replace(self._key, self._as_released(), self._tag)
            except Conflict:
                self._release_after_conflict()
            self._released = True

    def _as_released(self) -> bytes:
        return replace(self._mine, state="released").to_json()

    def _release_after_conflict(self) -> None:
        """An earlier write arrived and only its answer was lost, or another machine holds the lease by now."""
        record, tag = read_lease(self._store, self._key)
        if record is not None and record.holder == self._mine.holder and record.state != "released":
            self._store.replace(self._key, self._as_released(), tag)

    def _recover(self) -> None:
        """A renewal was refused: either it had arrived before and only its answer was lost, or the lease is gone."""
        record, tag = read_lease(self._store, self._key)
        if record is None:
            self._tag = self._store.create(self._key, self._mine.to_json())
        elif record.holder == self._mine.holder:
            self._tag = tag
        else:
            raise Fenced(str(record))

    def _take(self, incarnation: int, tag: str) -> bool:
        mine = replace(self._mine, incarnation=incarnation)
        data = mine.to_json()
        try:
            self._tag = self._store.replace(self._key, data, tag) if tag else self._store.create(self._key, data)
        except Conflict:
            return False
        self._mine = mine
        return True


class Heartbeat:
    """The thread that renews a lease, every ``interval`` seconds."""

    def __init__(
        self,
        interval: float,
        renew: Callable[[], None],
        on_lost: Callable[[str], None],
        on_defect: Callable[[Exception], None],
    ) -> None:
        self._interval = interval
        self._renew = renew
        self._on_lost = on_lost
        self._on_defect = on_defect
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self.beat_until, args=(self._done,), name="lease", daemon=True)
        self._thread.start()

    def beat_until(self, done: threading.Event) -> None:
        """A beat that failed is repeated soon; sets ``done`` itself when the lease is another's."""
        pause = self._interval
        while not done.wait(pause):
            pause = self._interval
            try:
                self._renew()
            except Fenced as error:
                done.set()
                self._on_lost(str(error))
            except StoreError:  # the store is away, and training continues; a waiting machine may see it all the same
                pause *= _RETRY_SHARE
            except Exception as error:  # a holder that lives must not fall silent: another would take over
                self._on_defect(error)

    def stop(self) -> None:
        self._done.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)  # a heartbeat may hang in a dead connection; nobody waits for that

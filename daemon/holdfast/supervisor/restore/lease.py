"""One writer for a run: a lease object in the store, with an incarnation number that only grows.

A holder renews it by conditional writes. A machine that waits for it counts the expiry from the last change that it saw
itself (lease_observer.py). A holder that was replaced finds out at its next renewal, which fails. Before it deletes or
overwrites anything in the store, it makes sure that it still is the holder (fenced_store.py).

Source: C. Gray and D. Cheriton, 'Leases', SOSP 1989; the fencing by a growing number is that of Chubby (OSDI 2006).
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from ...core.errors import Cancelled, Conflict, Fenced, StoreError, Transient
from ...core.policy import LeaseTimes
from ...core.preload import Preload
from ...store import Store
from .lease_observer import LeaseObserver
from .lease_record import LeaseRecord, read_lease

_JOIN_SECONDS = 1.0
_RETRY_SHARE = 0.2
"""A renewal that failed is repeated after this share of a heartbeat."""
_FRESH_SHARE = 0.5
"""For this share of the expiry, a renewal says that the lease is still held. The rest is for a write to arrive."""
_MOST_WRITES = 3


@runtime_checkable
class RemembersConditions(Protocol):
    """store/conditional_write_fallback.py's Conditional."""

    @property
    def creates(self) -> bool | None: ...

    def recall(self, remembered: object) -> None: ...

    def learned(self) -> Mapping[str, Any] | None: ...


def boot_time() -> float:
    """Seconds on a clock that runs while the machine is suspended (a hibernated holder has lost its lease)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """Acquired once, renewed by a thread of its own until it is released or lost.

    ``on_lost`` is called once, with the new holder, by whichever thread finds out; ``on_defect`` by the lease's own
    thread, with an error that is no StoreError. ``clock`` must count the time that the machine is suspended.
    ``group`` is the machine's Auto Scaling group. What is known of the store's ``conditions`` travels with the lease,
    so that the next start need not try them. ``continues`` says, once it is acquired, whether the last holder had the
    same folder: no other machine had the run in between. ``gang`` is where this machine listens for those that train
    with it. ``preload`` travels with the lease from its next renewal on;
    ``preload_before`` is what the last holder's command imported. ``sign`` is asked at each renewal how far this
    machine came; ``before`` is the lease that was taken over, None if there was none.
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
        group: str = "",
        conditions: RemembersConditions | None = None,
        gang: Mapping[str, Any] | None = None,
        sign: Callable[[], Mapping[str, Any] | None] = lambda: None,
    ) -> None:
        self._store = store
        self._sign = sign
        self._conditions = conditions
        self._key = key
        self._times = times
        self._on_lost = on_lost
        self._clock = clock
        self._observer = LeaseObserver(store, key, times.expiry, clock)
        self._heartbeat = Heartbeat(times.heartbeat, self.renew, on_defect)
        self._mine = LeaseRecord(
            "held",
            holder=secrets.token_hex(8),
            host=socket.gethostname(),
            spool=spool_id,
            expiry=times.expiry,
            group=group,
            gang=gang,
        )
        self._tag = ""
        self._renewing = threading.Lock()
        self._renewed_at = float("-inf")
        self._told = False
        self.continues = True
        self._giving_back = False
        self._released = False
        self.preload: Preload | None = None
        self.preload_before: Preload | None = None
        self.before: LeaseRecord | None = None

    @property
    def incarnation(self) -> int:
        """0 before the lease is acquired."""
        return self._mine.incarnation

    @property
    def silence(self) -> float:
        """After how many seconds without a sign of life the present holder is taken for dead."""
        return self._observer.silence

    @property
    def expired(self) -> bool:
        """Was the last successful renewal so long ago that another machine may have taken over?"""
        return self._clock() - self._renewed_at >= self._times.expiry

    def acquire(self, floor: int, cancelled: threading.Event, waiting: Callable[[str], None]) -> int:
        """Takes the lease and returns the incarnation, which is greater than ``floor``.

        Waits while another holder renews it; raises Fenced after ``times.wait``, Cancelled once ``cancelled`` is set,
        StoreError when the store fails. Called again after that, it counts on from what it has seen so far.
        """
        while True:
            record, tag = self._observer.look()
            self.continues &= record is None or record.spool == self._mine.spool
            if record is not None and self._conditions is not None:
                self._conditions.recall(record.conditions)
            self.preload_before = Preload.from_plain(record.preload) if record is not None else None
            self.preload = self.preload_before
            self.before = record
            last = record.incarnation if record is not None else 0
            if self._observer.is_free(record, str(self._mine.spool)) and self._take(max(floor, last) + 1, tag):
                return self.incarnation
            if self._observer.waited >= self._times.wait:
                raise Fenced(f"the lease is held by {record} (--lease-wait {self._times.wait:.0f} s is over)")
            waiting(str(record or LeaseRecord(readable=False)))
            if cancelled.wait(min(1.0, self._times.expiry / 10)):
                raise Cancelled("gave up waiting for the lease")

    def renew(self) -> None:
        """One heartbeat, from any thread. Raises Fenced if the lease is another's by now or given back; StoreError."""
        with self._renewing:
            self._write()

    def make_sure(self) -> None:
        """Renews the lease, unless that was done a moment ago. Raises as ``renew`` does: then it may be another's."""
        with self._renewing:
            age = self._clock() - self._renewed_at
            if self._giving_back or age >= _FRESH_SHARE * self._times.expiry:
                self._write()

    def keep(self) -> None:
        """Starts renewing in the background. Raises RuntimeError if there can be no further thread."""
        self._heartbeat.start()

    def keep_until(self, done: threading.Event) -> None:
        """Renews in the caller's thread until ``done`` is set, or the lease is another's."""
        self._heartbeat.beat_until(done)

    def stop(self) -> None:
        """Ends the renewing and leaves the lease as it is: it will expire."""
        self._heartbeat.stop()

    def release(self) -> None:
        """Gives the lease back, so that a replacement need not wait for the expiry. Raises StoreError.

        A renewal may be under way in another thread: it neither takes the lease again nor reports its next holder.
        """
        self._giving_back = True
        self.stop()
        if self.incarnation and not self._released:
            try:
                self._store.replace(self._key, self._as_released(), self._tag)
            except Conflict:
                self._release_after_conflict()
            self._released = True

    def _as_released(self) -> bytes:
        return replace(self._mine, state="released", **self._known()).to_json()

    def _known(self) -> dict[str, Any]:
        """What the next holder need not find out again."""
        conditions = None if self._conditions is None else self._conditions.learned()
        preload = self.preload.to_plain() if self.preload is not None else None
        return {"conditions": conditions, "preload": preload, "sign": self._sign()}

    def _release_after_conflict(self) -> None:
        """An earlier write arrived and only its answer was lost, or another machine holds the lease by now."""
        record, tag = read_lease(self._store, self._key)
        if record is not None and record.holder == self._mine.holder and record.state != "released":
            self._store.replace(self._key, self._as_released(), tag)

    def _write(self) -> None:
        """A refusal means that an earlier write arrived and only its answer was lost, or that the lease is gone.

        In the first case the lease is written again: who watches it must see a change within each heartbeat.
        """
        # A tag may be a hash: each beat must differ.
        self._mine = replace(self._mine, beat=self._mine.beat + 1, **self._known())
        for _ in range(_MOST_WRITES):
            if self._giving_back:
                raise Fenced("the lease was given back")
            began = self._clock()
            try:
                self._tag = self._put(self._mine.to_json(), self._tag)
            except Conflict:
                self._tag = self._tag_of_mine()
            else:
                self._renewed_at = began
                return
        raise Transient("the lease was changed by each of several writes at the same time")

    def _tag_of_mine(self) -> str:
        """Empty if the lease was deleted. Raises Fenced if it is another's."""
        record, tag = read_lease(self._store, self._key)
        if record is None or record.holder == self._mine.holder:
            return tag
        if not (self._giving_back or self._told):  # given back, it is rightfully another's
            self._told = True
            self._on_lost(str(record))
        raise Fenced(str(record))

    def _take(self, incarnation: int, tag: str) -> bool:
        mine = replace(self._mine, incarnation=incarnation, **self._known())
        began = self._clock()
        try:
            self._tag = self._put(mine.to_json(), tag)
        except Conflict:
            return False
        self._mine, self._renewed_at = mine, began
        return True

    def _put(self, data: bytes, tag: str) -> str:
        """In place of the lease that has this tag; without a tag, only where there is none."""
        return self._store.replace(self._key, data, tag) if tag else self._store.create(self._key, data)


class Heartbeat:
    """The thread that renews a lease, every ``interval`` seconds."""

    def __init__(
        self,
        interval: float,
        renew: Callable[[], None],
        on_defect: Callable[[Exception], None],
    ) -> None:
        self._interval = interval
        self._renew = renew
        self._on_defect = on_defect
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        thread = threading.Thread(target=self.beat_until, args=(self._done,), name="lease", daemon=True)
        thread.start()
        self._thread = thread

    def beat_until(self, done: threading.Event) -> None:
        """A beat that failed is repeated soon; sets ``done`` itself when the lease is another's."""
        pause = self._interval
        while not done.wait(pause):
            pause = self._interval
            try:
                self._renew()
            except Fenced:
                done.set()
            except StoreError:  # the store is away, and training continues; a waiting machine may see it all the same
                pause *= _RETRY_SHARE
            except Exception as error:  # a holder that lives must not fall silent: another would take over
                self._on_defect(error)

    def stop(self) -> None:
        self._done.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN_SECONDS)  # a heartbeat may hang in a dead connection; nobody waits for that

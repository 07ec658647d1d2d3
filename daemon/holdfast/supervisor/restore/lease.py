"""One writer for a run: a lease object in the store, with an incarnation number that only grows.

A holder renews it by conditional writes. Whoever waits counts the expiry from the last change that it saw itself, on
its own clock, so clocks of different machines are never compared. A holder that was replaced learns it from its next
renewal, which fails.

Source: C. Gray and D. Cheriton, 'Leases', SOSP 1989; the fencing by a growing number is that of Chubby (OSDI 2006).
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from ...core.errors import Cancelled, Conflict, Fenced, NotFound, StoreError, TooLarge, one_line
from ...core.policy import LeaseTimes
from ...store import Store

FORMAT = 1
_MAX_INCARNATION = 10**8
_PATIENCE = 1.0
_RETRY_SHARE = 0.2  # of a heartbeat


def boot_time() -> float:
    """Seconds on a clock that goes on while the machine is suspended (a hibernated holder has lost its lease)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """Acquired once, renewed by a thread of its own until it is released or lost.

    ``silence`` is after how many seconds without a sign of life the present holder is taken for dead.
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
        self._spool_id = spool_id
        self._times = times
        self._on_lost = on_lost
        self._clock = clock
        self._on_defect = on_defect
        self._holder = secrets.token_hex(8)
        self._beat = 0
        self._tag = ""
        self._renewing = threading.Lock()
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self.incarnation = 0
        self.silence = times.expiry
        self._given_back = False
        self._read_at: float | None = None
        self._tag_seen = ""
        self._silent = self._waited = 0.0

    def acquire(self, floor: int, cancelled: threading.Event, waiting: Callable[[str], None]) -> int:
        """Takes the lease and returns the incarnation, which is greater than ``floor``.

        Waits while another holder renews it; raises Fenced after ``times.wait``, Cancelled when told to give up,
        StoreError when the store fails. Called again after that, it goes on with what it has seen so far.
        """
        while True:
            document, tag = self._observe()
            last = _incarnation(document)
            if self._free(document) and self._take(max(floor, last) + 1, tag):
                return self.incarnation
            if self._waited >= self._times.wait:
                raise Fenced(f"the lease is held by {_who(document)} (--lease-wait {self._times.wait:.0f} s is over)")
            waiting(_who(document))
            if cancelled.wait(min(1.0, self._times.expiry / 10)):
                raise Cancelled("gave up waiting for the lease")

    def renew(self) -> None:
        """One heartbeat, from any thread. Raises Fenced if the lease is another's by now, StoreError."""
        with self._renewing:
            self._beat += 1  # a tag may be a hash of the content: observers see only what differs
            try:
                self._tag = self._store.replace(self._key, self._document("held"), self._tag)
            except Conflict:
                self._recover()

    def keep(self) -> None:
        """Starts renewing in the background."""
        self._thread = threading.Thread(target=self.keep_until, args=(self._done,), name="lease", daemon=True)
        self._thread.start()

    def keep_until(self, done: threading.Event) -> None:
        """Renews until then, or until the lease is another's, which is told. A beat that failed is repeated soon."""
        pause = self._times.heartbeat
        while not done.wait(pause):
            pause = self._times.heartbeat
            try:
                self.renew()
            except Fenced as error:
                done.set()
                self._on_lost(str(error))
            except StoreError:  # the store is away, and training goes on; whoever waits may see it all the same
                pause *= _RETRY_SHARE
            except Exception as error:  # a holder that lives must not fall silent: another would take over
                self._on_defect(error)

    def stop(self) -> None:
        """Ends the renewing and leaves the lease as it is: it will expire."""
        self._done.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)  # a heartbeat may hang in a dead connection; nobody waits for that

    def release(self) -> None:
        """Gives the lease back, so that a replacement need not wait for the expiry. Raises StoreError."""
        self.stop()
        if self.incarnation and not self._given_back:
            try:
                self._store.replace(self._key, self._document("released"), self._tag)
            except Conflict:
                self._release_what_is_ours()
            self._given_back = True

    def _release_what_is_ours(self) -> None:
        """An earlier write arrived and only its answer was lost, or another holds the lease by now."""
        document, tag = self._read()
        if document and document.get("holder") == self._holder and document.get("state") != "released":
            self._store.replace(self._key, self._document("released"), tag)

    def _recover(self) -> None:
        """A renewal was refused: either it had arrived before and only its answer was lost, or the lease is gone."""
        document, tag = self._read()
        if document is None:
            self._tag = self._store.create(self._key, self._document("held"))
        elif document.get("holder") == self._holder:
            self._tag = tag
        else:
            raise Fenced(_who(document))

    def _observe(self) -> tuple[dict[str, Any] | None, str]:
        """Reads the lease, and counts for how long it was seen unchanged.

        Time in which the store did not answer counts for nothing: the holder could not renew then, either.
        """
        before, self._read_at = self._read_at, None
        document, tag = self._read()
        self._read_at = self._clock()
        passed = 0.0 if before is None else self._read_at - before
        self._waited += passed
        self._silent = self._silent + passed if tag == self._tag_seen else 0.0
        self._tag_seen = tag
        return document, tag

    def _read(self) -> tuple[dict[str, Any] | None, str]:
        try:
            data, tag = self._store.get(self._key)
        except NotFound:
            return None, ""
        except TooLarge as error:
            return {"host": "an unreadable holder, whose lease is far too large"}, error.tag
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = {}
        return (document if isinstance(document, dict) else {}), tag

    def _free(self, document: dict[str, Any] | None) -> bool:
        if document is None or document.get("state") == "released":
            return True
        if document.get("spool") == self._spool_id:
            return True  # we hold that folder's lock, so whoever wrote this is dead
        expiry = document.get("expiry")
        theirs = float(expiry) if isinstance(expiry, int | float) and 0 < expiry < 3600 else self._times.expiry
        self.silence = max(self._times.expiry, theirs)
        return self._silent >= self.silence

    def _take(self, incarnation: int, tag: str) -> bool:
        data = self._document("held", incarnation)
        try:
            self._tag = self._store.replace(self._key, data, tag) if tag else self._store.create(self._key, data)
        except Conflict:
            return False
        self.incarnation = incarnation
        return True

    def _document(self, state: str, incarnation: int | None = None) -> bytes:
        return json.dumps(
            {
                "format": FORMAT,
                "state": state,
                "incarnation": incarnation or self.incarnation,
                "holder": self._holder,
                "host": socket.gethostname(),
                "spool": self._spool_id,
                "beat": self._beat,
                "expiry": self._times.expiry,
            }
        ).encode()


def _incarnation(document: dict[str, Any] | None) -> int:
    value = (document or {}).get("incarnation")
    return value if isinstance(value, int) and 0 <= value < _MAX_INCARNATION else 0


def _who(document: dict[str, Any] | None) -> str:
    if not document:
        return "an unreadable holder"
    return f"{one_line(str(document.get('host')), 80)} (incarnation {_incarnation(document)})"

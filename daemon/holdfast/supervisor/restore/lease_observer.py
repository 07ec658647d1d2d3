"""Watches the lease of another holder, until that one may be taken for dead."""

from __future__ import annotations

from collections.abc import Callable

from ...store import Store
from .lease_record import LeaseRecord, read_lease


class LeaseObserver:
    """``expiry`` is the least number of seconds without a change after which a holder is taken for dead.

    Time is this machine's ``clock`` alone: clocks of different machines are never compared. ``silence`` is after how
    many seconds the present holder is taken for dead, ``waited`` how many seconds were waited for it.
    """

    def __init__(self, store: Store, key: str, expiry: float, clock: Callable[[], float]) -> None:
        self._store = store
        self._key = key
        self._expiry = expiry
        self._clock = clock
        self._read_at: float | None = None
        self._tag = ""
        self._unchanged = 0.0
        self.silence = expiry
        self.waited = 0.0

    def look(self) -> tuple[LeaseRecord | None, str]:
        """Reads the lease, and counts for how long it was seen unchanged. Raises StoreError.

        Time in which the store did not answer counts for nothing: the holder could not renew then, either.
        """
        before, self._read_at = self._read_at, None
        record, tag = read_lease(self._store, self._key)
        self._read_at = self._clock()
        passed = 0.0 if before is None else self._read_at - before
        self.waited += passed
        self._unchanged = self._unchanged + passed if tag == self._tag else 0.0
        self._tag = tag
        return record, tag

    def is_free(self, record: LeaseRecord | None, spool_id: str) -> bool:
        """May the lease that was just read be taken, by the holder of the lock on the folder ``spool_id``?"""
        if record is None or record.state == "released":
            return True
        if record.spool == spool_id:
            return True  # that folder's lock is held here, so the process that wrote this is dead
        self.silence = max(self._expiry, record.expiry or self._expiry)
        return self._unchanged >= self.silence

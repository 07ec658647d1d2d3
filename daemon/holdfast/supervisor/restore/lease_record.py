"""The lease object in the store, as data: who holds the run, and since which incarnation."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ...core.errors import HoldfastError, NotFound, TooLarge, one_line
from ...core.history.event import Event
from ...core.history.heartbeats import of_lease
from ...core.runs import LEASE_FILE
from ...store import Store
from ...store.catalog import existing_run

FORMAT = 1
_MAX_INCARNATION = 10**8
_LONGEST_EXPIRY = 3600


@dataclass(frozen=True)
class LeaseRecord:
    """What others wrote is read leniently: a value that makes no sense is left out. ``expiry`` is in seconds.

    ``spool`` is the identity of the holder's folder, ``beat`` counts its renewals. ``group`` is the Auto Scaling
    group of its machine; '' if it has none, None if it did not say. ``conditions`` is what the holder learned about the
    store's conditional writes, for the next one, ``preload`` what its command imports (core/preload.py). ``gang`` is
    where the holder listens for the machines that train with it (supervisor/gang); None for one alone. ``sign`` is
    until when the holder was at work and how far it came (core/history/heartbeats.py).
    """

    state: object = None
    incarnation: int = 0
    holder: object = None
    host: object = None
    spool: object = None
    beat: int = 0
    expiry: float | None = None
    group: object = None
    conditions: object = None
    preload: object = None
    gang: object = None
    sign: object = None
    readable: bool = True

    @classmethod
    def from_json(cls, data: bytes) -> LeaseRecord:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = {}
        if not isinstance(document, dict) or not document:
            return cls(readable=False)
        incarnation, expiry = document.get("incarnation"), document.get("expiry")
        return cls(
            document.get("state"),
            incarnation if isinstance(incarnation, int) and 0 <= incarnation < _MAX_INCARNATION else 0,
            document.get("holder"),
            document.get("host"),
            document.get("spool"),
            expiry=float(expiry) if isinstance(expiry, int | float) and 0 < expiry < _LONGEST_EXPIRY else None,
            group=document.get("group"),
            conditions=document.get("conditions"),
            preload=document.get("preload"),
            gang=document.get("gang"),
            sign=document.get("sign"),
        )

    def to_json(self) -> bytes:
        return json.dumps(
            {
                "format": FORMAT,
                "state": self.state,
                "incarnation": self.incarnation,
                "holder": self.holder,
                "host": self.host,
                "spool": self.spool,
                "beat": self.beat,
                "expiry": self.expiry,
                "group": self.group,
                "conditions": self.conditions,
                "preload": self.preload,
                "gang": self.gang,
                "sign": self.sign,
            }
        ).encode()

    @property
    def heartbeat(self) -> dict[int, Event]:
        """The holder's last one, by its incarnation; empty if the lease was given back."""
        return of_lease({"state": self.state, "incarnation": self.incarnation, "sign": self.sign})

    def __str__(self) -> str:
        """Who holds it, for people."""
        if not self.readable:
            return "an unreadable holder"
        of_it = f" of the Auto Scaling group {one_line(str(self.group), 80)}" if self.group else ""
        return f"{one_line(str(self.host), 80)}{of_it} (incarnation {self.incarnation})"


def read_lease(store: Store, key: str) -> tuple[LeaseRecord | None, str]:
    """The lease and its tag; None and an empty tag if there is none. Raises StoreError."""
    try:
        data, tag = store.get(key)
    except NotFound:
        return None, ""
    except TooLarge as error:
        return LeaseRecord(host="an unreadable holder, whose lease is far too large"), error.tag
    return LeaseRecord.from_json(data), tag


def holder_outside(store: Store, run: str, group: str) -> str:
    """Who has the run, if that is no machine of ``group``; '' if it is one, or cannot be known. ``run`` may be a name.

    For the end of a run that another machine has: whether this group is to start machines for it again and again.
    """
    try:
        record, _ = read_lease(store, f"{existing_run(store, run)}/{LEASE_FILE}")
    except HoldfastError:
        return ""
    outside = record is not None and record.state == "held" and record.group is not None and record.group != group
    return str(record) if outside else ""

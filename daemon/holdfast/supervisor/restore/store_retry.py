"""What is tried again while a run is prepared: calls to the store while it is away, and the start of a thread."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from ...core.errors import Cancelled, HoldfastError, Transient
from ...core.event_sink import EventSink
from ...core.policy import Backoff

T = TypeVar("T")
_BACKOFF = Backoff(first=0.5, most=10.0)
_MOST_STARTS = 5  # of a thread: in a few seconds, within a lease's expiry
_NO_THREAD = "the limit of processes is reached (ulimit -u, a unit's TasksMax=, a container's --pids-limit): raise it"


class StoreRetry:
    """``store_wait``: the seconds that the store may be away at the first contact. Setting ``cancelled`` ends a wait.

    Both calls raise Cancelled after that, and what the call itself raises, Transient excepted.
    """

    def __init__(self, store_wait: float, say: EventSink, cancelled: threading.Event) -> None:
        self._store_wait = store_wait
        self._say = say
        self._failures = 0  # in a row
        self.cancelled = cancelled

    def first_contact(self, call: Callable[[], T]) -> T:
        """Raises Transient when the store was away for ``store_wait`` seconds: that is taken for a wrong setting."""
        return self._retry(call, time.monotonic() + self._store_wait)

    def patiently(self, call: Callable[[], T]) -> T:
        """After the first contact an outage is waited out."""
        return self._retry(call, float("inf"))

    def answered(self) -> None:
        """The store answered in the middle of a call: what fails after that is another outage."""
        self._failures = 0

    def start_thread(self, start: Callable[[], None]) -> None:
        """Calls ``start``. A machine that has no thread to give now may have one a moment later.

        Raises HoldfastError if it never has, and Cancelled.
        """
        for number in itertools.count(1):
            try:
                start()
                break
            except RuntimeError as error:
                if number == _MOST_STARTS:
                    raise HoldfastError(f"{error}: {_NO_THREAD}") from None
                self._say("no-thread", f"{error}; trying again", warning=True)
                if self.cancelled.wait(_BACKOFF.delay(number, 0.5)):
                    raise Cancelled("gave up waiting for a thread") from None

    def _retry(self, call: Callable[[], T], until: float) -> T:
        self._failures = 0
        while True:
            try:
                return call()
            except Transient as error:
                self._failures += 1
                wait = _BACKOFF.delay(self._failures, 0.5)
                if time.monotonic() + wait >= until:
                    raise
                self._say("store-away", f"{error}; trying again", warning=True)
                if self.cancelled.wait(wait):
                    raise Cancelled("gave up waiting for the store") from None

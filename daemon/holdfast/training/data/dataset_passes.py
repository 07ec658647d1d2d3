"""The passes through each ``holdfast.dataset`` of this process, counted in Python. Imports no framework.

A pass is one way through the data. Which one comes next is asked for by the dataset as a pass begins, so it can be set
when a training resumes. A script makes its datasets in the same order at each start: that order is what a checkpoint's
counts are known by.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from ..session.detect_unprotected import pass_begins
from ..session.open import at_close, loop_under_way

_IN_A_LOOP = (
    "this loop reads a holdfast.dataset a second time: after a resume that would be its first order again, from the "
    "beginning. Make one for each epoch: holdfast.dataset(…, seed=seed + epoch).skip(batches done in the epoch)"
)
_said_in_a_loop = threading.Event()
_lock = threading.Lock()
_counters: list[PassCounter] = []


class PassCounter:
    """Counts the passes of one dataset of so many batches (0: not known). ``alike``: each pass has the same order.
    ``each_batch_counts``: making one changes what the next one is, so none may be left out.
    """

    def __init__(self, seed: int, batches: int, alike: bool = False) -> None:
        self.seed = seed
        self.batches = batches
        self.alike = alike
        self.each_batch_counts = False
        self._next = 0
        self._empty = 0
        with _lock:
            _counters.append(self)

    @property
    def next_pass(self) -> int:
        return self._next

    def begin_pass(self) -> tuple[int, int]:
        """Called by the dataset as a pass begins: the pass's number, and how many of its batches to leave empty."""
        with _lock:
            number, empty = self._next, min(self._empty, self.batches)
            self._next += 1
            self._empty -= empty
        pass_begins(number)
        if number and not self.alike:
            _report_in_a_loop()
        return number, empty

    def resume_at(self, next_pass: int, empty: int = 0) -> None:
        """From that pass on, with so many empty batches first (only where the number of batches is known)."""
        with _lock:
            self._next, self._empty = next_pass, empty


def pass_counter_of(made: Any) -> PassCounter | None:
    """What counts the passes of ``made``, if ``holdfast.dataset`` made it."""
    return getattr(made, "holdfast_passes", None)


def counts() -> list[int]:
    """The next pass of each dataset, in the order in which they were made."""
    return [counter.next_pass for counter in _counters]


def set_counts(next_passes: Sequence[int], since: int = 0, then: int = 0) -> None:
    """What ``counts`` gave. Datasets that were made later than that keep theirs.

    The dataset at the place ``since`` was at ``then`` when they were counted; those made before it are left alone
    where that is another place.
    """
    first = 0 if since == then else since
    for place, counter in enumerate(_counters[first:], first):
        if 0 <= (at := place - since + then) < len(next_passes):
            counter.resume_at(next_passes[at])


def places_of(counters: Iterable[PassCounter]) -> list[int]:
    """Which ones they are, in the order in which all datasets were made."""
    places = {id(counter): place for place, counter in enumerate(_counters)}
    return [places[id(counter)] for counter in counters if id(counter) in places]


def forget() -> None:
    """The datasets that are made from here on are another start's."""
    _counters.clear()
    _said_in_a_loop.clear()


def _report_in_a_loop() -> None:
    """``fit`` sets the next pass when it resumes; the place in a loop's data is the loop's own. Said once."""
    session = loop_under_way()
    if session is not None and not _said_in_a_loop.is_set():
        _said_in_a_loop.set()
        session.say(_IN_A_LOOP)


at_close(forget)

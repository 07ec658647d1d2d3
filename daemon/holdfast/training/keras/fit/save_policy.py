"""When a pair is due. A decision: it does no I/O, and the time is an argument (monotonic seconds)."""

from __future__ import annotations

from ....core.policy import Cadence
from ...session.interval import Interval

INTERVAL = "interval"


class SavePolicy:
    """``due`` is None, or the reason for which a pair is to be stored at the next boundary that allows it.

    ``size`` is the last pair's, in bytes: as far as one knows, the next one's too. ``interval`` is what lies
    between two.
    """

    def __init__(self, cadence: Cadence, now: float) -> None:
        self.due: str | None = None
        self.size = 0
        self.interval = Interval(cadence, now)

    def resumed_at(self, step: int) -> None:
        self.interval.resumed_at(step)

    def at_boundary(self, step: int, now: float, asked: str | None) -> str | None:
        """Returns ``due``. ``asked`` is the reason of somebody who asks for a pair now."""
        if asked is not None:
            self.due = asked
        elif self.interval.is_due(step, now):
            self.due = self.due or INTERVAL
        return self.due

    def postpone(self, reason: str) -> None:
        """There was no room for a pair: it is due at the next boundary."""
        self.due = reason

    def taken(self, step: int, now: float, seconds: float = 0.0) -> None:
        """A snapshot was taken, in so many ``seconds``, and will be written."""
        self.due = None
        self.interval.taken(step, now, seconds)

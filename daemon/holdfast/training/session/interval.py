"""When a training saves between two epochs' ends: after so many batches or seconds, or by what checkpoints cost.

``every="auto"`` measures: the seconds that the training waits for a snapshot, and those that its batches take longer
while a pair is written. It saves so seldom that both stay under a share of the training's time, and no more seldom.
Source: CheckFreq (Mohan, Phanishayee, Chidambaram, FAST '21), which profiles both costs and tunes its interval as it
goes.
"""

from __future__ import annotations

import statistics
from collections import deque
from typing import NamedTuple

from ...core.policy import Cadence

LEAST_SECONDS = 10.0
_PACES = 31
_COSTS = 3  # a pair that a busy disk held up is no rule
_NEWS = 1.25


class Decision(NamedTuple):
    """Seconds between two pairs, and what one costs the training, in seconds."""

    interval: float
    cost: float


class Interval:
    """A decision: it does no I/O, and the time is an argument (monotonic seconds)."""

    def __init__(self, cadence: Cadence, now: float) -> None:
        self._cadence = cadence
        self._last_step = 0
        self._last_time = self._last_boundary = now
        self._paces: deque[float] = deque(maxlen=_PACES)
        self._slowed: list[float] = []
        self._snapshot: float | None = None
        self._costs: deque[float] = deque(maxlen=_COSTS)
        self._decision = Decision(LEAST_SECONDS, 0.0)
        self._told: Decision | None = None

    @property
    def by_the_clock(self) -> bool:
        """It is not told by counting batches."""
        return self._cadence.share is not None or self._cadence.seconds is not None

    def resumed_at(self, step: int) -> None:
        self._last_step = step

    def boundary(self, now: float, writing: bool) -> None:
        """A batch is done; ``writing``: a pair is on its way to the disk."""
        if self._cadence.share is None:
            return
        took, self._last_boundary = now - self._last_boundary, now
        if writing:
            self._slowed.append(took)
            return
        self._measure()
        self._paces.append(took)

    def pause(self, now: float) -> None:
        """What came before is no batch's time: validation, the end of an epoch, a snapshot."""
        self._last_boundary = now

    def is_due(self, step: int, now: float) -> bool:
        seconds = now - self._last_time
        if self._cadence.share is not None:
            return seconds >= self._decision.interval
        return self._cadence.due(step - self._last_step, seconds)

    def taken(self, step: int, now: float, seconds: float) -> None:
        """A snapshot was taken, for which the training waited so many ``seconds``, and will be written."""
        self._measure()
        self._last_step, self._last_time = step, now
        self._snapshot = seconds
        self.pause(now)

    def news(self) -> Decision | None:
        """The decision, if it is made by measurement and is much another one than that which was given last."""
        told, now = self._told, self._decision
        if not now.cost or (told is not None and told.interval / _NEWS < now.interval < told.interval * _NEWS):
            return None
        self._told = now
        return now

    def _measure(self) -> None:
        """The last pair is written: now it is known what it cost. A few slow batches are no rule: medians count."""
        share = self._cadence.share
        if share is None or self._snapshot is None:
            return
        slower = (
            statistics.median(self._slowed) - statistics.median(self._paces) if self._slowed and self._paces else 0.0
        )
        self._costs.append(self._snapshot + max(0.0, slower) * len(self._slowed))
        self._snapshot, self._slowed = None, []
        cost = statistics.median(self._costs)
        self._decision = Decision(max(LEAST_SECONDS, cost * (1 / share - 1)), cost)

"""Rank 0 watches how all ranks get on: it names whom the others wait for, and has the gang ended for it if asked to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ...core.event_sink import EventSink
from ...core.gang.lateness import LATE_SECONDS, Lateness, Standstill
from ...core.machine.events import Event, GangBroken
from .roster import ranks_text

_SKEW = 6.0
"""Ranks that are idle for equally long seem to differ: looks and signs of life are seconds apart."""


class RankSeen(NamedTuple):
    """How many boundaries a rank has passed, and for how many seconds its command has been idle."""

    passed: int
    idle: float


class GangWatch:
    """``look`` is called every second. ``stall_timeout`` is in seconds; 0 for never: who is late is only named."""

    def __init__(self, stall_timeout: float, say: EventSink, put: Callable[[Event], None]) -> None:
        self._stall_timeout = stall_timeout
        self._say = say
        self._put = put
        self._lateness, self._standstill = Lateness(), Standstill()
        self._said: frozenset[int] = frozenset()
        self._ended_at = 0.0

    def look(self, ranks: Mapping[int, RankSeen], now: float) -> None:
        """``ranks`` is empty while not all train."""
        passed = {rank: seen.passed for rank, seen in ranks.items()}
        most = max(passed.values(), default=0)
        if most != self._standstill.most:
            self._ended_at = 0.0
        self._lateness = self._lateness.seen(passed, now)
        self._standstill = self._standstill.seen(most, now)
        late, text, seconds = self._behind(now)
        if not late:
            late, text, seconds = self._hanging(ranks, now)
        if not late:
            self._said = frozenset()
        elif seconds >= LATE_SECONDS and not self._said.issuperset(late):
            self._said |= late
            self._say("gang-late", text, warning=True)
        if late and 0 < self._stall_timeout <= seconds - self._ended_at:
            self._ended_at = seconds
            self._put(GangBroken(f"{text} (--stall-timeout)"))

    def _behind(self, now: float) -> tuple[frozenset[int], str, float]:
        least = min(LATE_SECONDS, self._stall_timeout or LATE_SECONDS)
        late = {rank: seconds for rank, seconds in self._lateness.behind(now).items() if seconds >= least}
        seconds = max(late.values(), default=0.0)
        text = f"{ranks_text(sorted(late))} is behind the others for {seconds:.0f} s: they wait for it"
        return frozenset(late), text, seconds

    def _hanging(self, ranks: Mapping[int, RankSeen], now: float) -> tuple[frozenset[int], str, float]:
        """A rank whose data hangs has passed as many boundaries as those that wait for it in their step."""
        pause = self._standstill.seconds(now)
        idle = {rank: min(pause, seen.idle) for rank, seen in ranks.items()} if pause else {}
        seconds = max(idle.values(), default=0.0)
        if seconds < LATE_SECONDS:
            return frozenset(), "", 0.0
        as_long = sorted(rank for rank, one in idle.items() if one >= LATE_SECONDS - _SKEW)
        text = (
            f"no rank has begun a batch for {pause:.0f} s; without CPU and data for {seconds:.0f} s: "
            f"{ranks_text(as_long)} (a hang, or a wait for another rank)"
        )
        return frozenset(as_long), text, seconds

"""Whom a gang waits for: decided from how many boundaries each rank has passed, as it was last seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

LATE_SECONDS = 15.0
_FIRST_MOVES = 1
_NEWEST = 0.2
_STEPS = 10
_PAUSES = 2
_UNKNOWN = 60.0  # while no usual time is known


@dataclass(frozen=True)
class Lateness:
    """``ranks``: how many boundaries each has passed, and when it was last seen to pass one, or to be behind nobody.

    Both count. What is known of the ranks is of different age, so that in a healthy gang one seems to be behind at each
    look. And a step may be long: then one has stood still for long just before it is seen to pass a boundary.
    """

    ranks: Mapping[int, tuple[int, float]] = field(default_factory=dict)

    def seen(self, passed: Mapping[int, int], now: float) -> Lateness:
        most = max(passed.values(), default=0)
        ranks = {}
        for rank, count in passed.items():
            before, since = self.ranks.get(rank, (-1, now))
            ranks[rank] = (count, since if count == before and count < most else now)
        return Lateness(ranks)

    def behind(self, now: float) -> dict[int, float]:
        """The ranks that are behind, and for how many seconds each has stood still there."""
        most = max((count for count, _ in self.ranks.values()), default=0)
        return {rank: now - since for rank, (count, since) in self.ranks.items() if count < most}


@dataclass(frozen=True)
class Standstill:
    """How a gang gets on, by the boundary that its first rank has passed (``most``, last seen to grow at ``moved_at``).

    ``step`` is the usual time of a batch, ``longest`` the longest time without one that the gang got over by itself: a
    validation, say. Neither counts the first batches, which are traced and compiled.
    """

    most: int = 0
    moved_at: float = 0.0
    moves: int = 0
    step: float = 0.0
    longest: float = 0.0

    def seen(self, most: int, now: float) -> Standstill:
        if most == self.most:
            return self
        if most < self.most or not self.most:  # a start of the command
            return Standstill(most, now)
        moved = replace(self, most=most, moved_at=now, moves=self.moves + 1)
        if self.moves < _FIRST_MOVES:
            return moved
        pause = now - self.moved_at
        each = pause / (most - self.most)
        step = each if not self.step else (1 - _NEWEST) * self.step + _NEWEST * each
        return replace(moved, step=step, longest=max(self.longest, pause))

    def seconds(self, now: float) -> float:
        """For how long no rank has passed a boundary, once that is far more than usual; else 0."""
        pause = now - self.moved_at
        usual = max(LATE_SECONDS, _STEPS * self.step, _PAUSES * self.longest) if self.step else _UNKNOWN
        return pause if self.most and pause >= usual else 0.0

"""Which rank of a gang the others wait for: decided from how many boundaries each has passed, as it was last seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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

"""At which boundary all ranks of a gang act (save or stop): decided from where each of them stands.

The ranks run one program in lock-step: each passes the same boundaries between batches, in the same order, and a step
ends on no rank before it has begun on all. So a boundary that no rank has passed yet, and that one rank can still be
held at, can be reached by all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class RankStanding:
    """Where a rank stands: it has ``passed`` so many boundaries, and waits at the next one if it is ``held``.

    ``owes`` is the boundary at which it was to save by an earlier agreement and has not yet; 0: none.
    """

    passed: int
    held: bool = False
    owes: int = 0


def target(standings: Iterable[RankStanding]) -> int:
    """The first boundary, counted from 1, that no rank has passed."""
    return max(standing.passed for standing in standings) + 1


@dataclass(frozen=True)
class Agreement:
    """One request that all ``ranks`` act at one boundary, while their answers arrive.

    ``action`` is one of spool/gang_board.py.
    """

    number: int
    action: int
    reason: str
    ranks: frozenset[int]
    answers: Mapping[int, RankStanding] = field(default_factory=dict)

    def answered(self, rank: int, standing: RankStanding) -> Agreement:
        if rank not in self.ranks:
            return self
        return replace(self, answers={**self.answers, rank: standing})

    def without(self, rank: int) -> Agreement:
        """Its command has ended: it passes no boundary any more."""
        return replace(self, ranks=self.ranks - {rank}, answers={r: at for r, at in self.answers.items() if r != rank})

    @property
    def target(self) -> int | None:
        """The boundary at which all act; None while an answer is missing."""
        if not self.ranks or self.missing:
            return None
        return target(self.answers.values())

    @property
    def save_at(self) -> int:
        """Where those that owe a save do it before all act; 0: nowhere. One that no rank has done is dropped."""
        owed = max((standing.owes for standing in self.answers.values()), default=0)
        return owed if any(standing.passed >= owed for standing in self.answers.values()) else 0

    @property
    def missing(self) -> tuple[int, ...]:
        return tuple(sorted(self.ranks - set(self.answers)))

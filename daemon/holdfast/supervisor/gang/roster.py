"""Rank 0's view of the other ranks, as data: who has joined, what each is ready for, and how its command ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...core.errors import Exit
from ...core.gang.messages import CommandEnded
from ...core.machine.crash_signature import Failure
from ...core.machine.events import ChildExited
from .link import Link

_MOST_NAMED = 10


@dataclass
class MemberState:
    """``prepared`` is the round that it is ready for, ``running`` that in which its command runs (0: none), ``passed``
    the boundaries that this has passed, and ``idle`` for how many seconds it has been idle. ``error``: why it cannot
    get ready, since ``failing_since``.
    """

    rank: int
    link: Link
    host: str
    prepared: int = 0
    port: int = 0
    running: int = 0
    passed: int = 0
    idle: float = 0.0
    error: str = ""
    failing_since: float = 0.0


@dataclass
class RoundEnd:
    """How the commands of one round ended. ``lost`` are the ranks whose machine was lost while theirs ran.

    ``finished`` are those whose training is over, though the rest of the script may run on.
    """

    ended: dict[int, CommandEnded] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    first: int | None = None  # the first rank whose command failed
    broken: bool = False  # the others are being ended, for one that is gone

    def note(self, rank: int, ended: CommandEnded, failed: bool) -> None:
        self.ended[rank] = ended
        if failed and self.first is None:
            self.first = rank

    @property
    def over(self) -> set[int]:
        return {*self.ended, *self.lost}

    def as_one(self, own: ChildExited) -> ChildExited:
        """The end of all commands as that of one. ``own`` is how rank 0's ended: 75 says that the state is stored.

        A rank that is lost after its training takes nothing along if rank 0's command ends well all the same.
        """
        needed = set(self.lost) - (self.finished if own.code == Exit.COMPLETE else set())
        if needed and own.code != Exit.STOPPED:
            text = "; ".join(f"rank {rank}: {why}" for rank, why in sorted(self.lost.items()))
            return replace(own, lost=text, how=text)
        if self.first is not None and self.first != 0 and own.code != Exit.STOPPED:
            first = self.ended[self.first]
            how = f"rank {self.first}: {_how(first)}"
            return replace(own, code=first.code, how=how, failure=_failure(first.failure))
        codes = {ended.code for ended in self.ended.values()}
        if own.code == Exit.COMPLETE and Exit.STOPPED in codes:
            return replace(own, code=int(Exit.STOPPED), how="some ranks stopped, and others had ended")
        return own


class Roster:
    """The members of a gang of ``count`` ranks, by their numbers. Not safe for threads: its owner has the lock."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.members: dict[int, MemberState] = {}

    @property
    def missing(self) -> list[int]:
        return [rank for rank in range(1, self.count) if rank not in self.members]

    def place_for(self, rank: int) -> int | str:
        """The number of a member that joins; ``rank`` is -1 where it knows none. Or why it cannot join."""
        if rank == -1:
            return self.missing[0] if self.missing else f"all {self.count} ranks are there"
        if not 1 <= rank < self.count:
            return f"there is no rank {rank} in a gang of {self.count}"
        if rank in self.members:
            return f"rank {rank} is there already: {self.members[rank].host}"
        return rank

    def unprepared(self, number: int) -> list[int]:
        return sorted([*self.missing, *(one.rank for one in self if one.prepared != number)])

    def failing(self, since: float) -> list[MemberState]:
        """Those that could not get ready at ``since``, and cannot yet."""
        return [one for one in self if one.error and one.failing_since <= since]

    def __iter__(self) -> Iterator[MemberState]:
        return iter(sorted(self.members.values(), key=lambda one: one.rank))


def ranks_text(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"rank {numbers[0]}"
    return f"ranks {', '.join(map(str, numbers[:_MOST_NAMED]))}{' and more' if len(numbers) > _MOST_NAMED else ''}"


def _failure(said: Mapping[str, Any]) -> Failure | None:
    """As a member describes it, which may be of another version."""
    words = {name: said.get(name) for name in ("kind", "place", "text")}
    return Failure(**{name: str(word) for name, word in words.items()}) if None not in words.values() else None


def _how(ended: CommandEnded) -> str:
    return ended.how or f"exit {ended.code}"

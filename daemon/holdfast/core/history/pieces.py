"""Where one start's lines of events.jsonl end and the next one's begin: those of a machine share a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .event import Event

_BEFORE_LEASE = (
    "complete",
    "conditions",
    "forked-before",
    "held-outside",
    "metadata-refused",
    "metadata-warning",
    "no-metadata",
    "waiting",
)
"""Kinds with which a start begins. No event says that one was killed, so these and the lease tell where it ends."""


@dataclass(frozen=True)
class Line:
    """``event`` is None for what is no event."""

    line: bytes
    event: Event | None

    def is_(self, *kinds: str) -> bool:
        return self.event is not None and self.event.kind in kinds


@dataclass
class StartLines:
    """Lines of one start."""

    lines: list[Line] = field(default_factory=list)

    @property
    def incarnation(self) -> int | None:
        """None if it never had the lease."""
        lease = next((one.event for one in self.lines if one.is_("lease")), None)
        return None if lease is None else lease.count("incarnation")


def pieces(lines: Iterable[bytes]) -> Iterator[StartLines]:
    """Together they have all lines, in order. A start ends with its exit, or where another one takes the lease."""
    piece, leased = StartLines(), False
    for line in lines:
        one = Line(line, Event.parse(line))
        if leased and one.is_("lease"):
            ended, piece = _parted(piece)
            yield ended
        leased |= one.is_("lease")
        piece.lines.append(one)
        if one.is_("exit"):
            yield piece
            piece, leased = StartLines(), False
    if piece.lines:
        yield piece


def _parted(piece: StartLines) -> tuple[StartLines, StartLines]:
    """A start that was killed, and what the next one said before it had the lease."""
    end = len(piece.lines)
    while piece.lines[end - 1].is_(*_BEFORE_LEASE):
        end -= 1
    return StartLines(piece.lines[:end]), StartLines(piece.lines[end:])

"""The messages that are only sent where several machines train one model together (core/gang).

A member's training process writes no checkpoint. What only it knows of one (its position in the data, its random
states) travels to the training process of rank 0, which writes it into the pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class RankState:
    """What only ``rank`` knows of the state at ``step``: plain values, pickled as in a ``.pkl``, in base64.

    With an ``error`` there is none.
    """

    kind: ClassVar[str] = "rank-state"
    rank: int
    step: int
    data: str
    error: str = ""


@dataclass(frozen=True)
class PairWritten:
    """To the processes of other ranks: the state of ``step`` is in the pair ``name``, which rank 0 has written.

    Without a ``name``, the last one could not be written.
    """

    kind: ClassVar[str] = "pair-written"
    step: int
    name: str


@dataclass(frozen=True)
class StopWanted:
    """Child to supervisor: the process was asked to stop. It stops where all ranks do, once that is agreed on."""

    kind: ClassVar[str] = "stop-wanted"
    reason: str


@dataclass(frozen=True)
class SaveWanted:
    """Child to supervisor, of rank 0: so much time is over. A pair is saved where all ranks do, once that is agreed."""

    kind: ClassVar[str] = "save-wanted"
    reason: str


@dataclass(frozen=True)
class Leaving:
    """Child to supervisor: it has done what a stop asks of it, and ends when it receives MayLeave."""

    kind: ClassVar[str] = "leaving"
    stored: bool


@dataclass(frozen=True)
class MayLeave:
    """Supervisor to child: no other rank needs this process any longer."""

    kind: ClassVar[str] = "may-leave"

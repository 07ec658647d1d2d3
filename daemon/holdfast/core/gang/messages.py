"""The messages between the supervisors of a gang, one JSON object a line over TCP (core/wire/codec.py).

Rank 0's supervisor has the run's lease, which says where it listens. The others connect to it, and do what it says. It
decides; nobody but it writes to the run in the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..wire import (
    Leaving,
    PairWritten,
    RankState,
    Refused,
    SaveWanted,
    StopWanted,
    TrainingBegan,
    TrainingFinished,
    Unusable,
)
from ..wire.codec import Codec

# --- a member's


@dataclass(frozen=True)
class Join:
    """The answer to Challenge, with a ``nonce`` of its own (supervisor/gang/welcoming.py).

    ``rank`` is -1 where nothing tells it; ``host`` is for people.
    """

    kind: ClassVar[str] = "join"
    proof: str
    nonce: str
    rank: int
    host: str


@dataclass(frozen=True)
class ReadyToStart:
    """What the round's ``Prepare`` asked for is here, or there is an ``error``. ``port`` is a free one there."""

    kind: ClassVar[str] = "ready-to-start"
    round: int
    port: int
    error: str = ""


@dataclass(frozen=True)
class Stands:
    """The answer to Ask (core/gang/agreement.py)."""

    kind: ClassVar[str] = "stands"
    number: int
    passed: int
    held: bool
    owes: int


@dataclass(frozen=True)
class MachineStops:
    """The member's machine is asked to stop, or goes away in ``seconds``, if that is known (-1: it is not)."""

    kind: ClassVar[str] = "machine-stops"
    what: str
    seconds: float


@dataclass(frozen=True)
class CommandEnded:
    """The member's command ended, in that round. ``failure`` are the fields of a Failure, or none."""

    kind: ClassVar[str] = "command-ended"
    round: int
    code: int
    how: str
    failure: dict[str, Any]


@dataclass(frozen=True)
class Beat:
    """Either side's sign of life. A member says how many boundaries its command has passed.

    ``idle``: for so many seconds it has used next to no CPU and read and written next to nothing.
    """

    kind: ClassVar[str] = "beat"
    passed: int = 0
    idle: float = 0.0


# --- rank 0's


@dataclass(frozen=True)
class Challenge:
    """First of all, to each that connects."""

    kind: ClassVar[str] = "challenge"
    nonce: str


@dataclass(frozen=True)
class Joined:
    """With the proof that the other side has the lease's key, too."""

    kind: ClassVar[str] = "joined"
    rank: int
    ranks: int
    proof: str


@dataclass(frozen=True)
class NotJoined:
    kind: ClassVar[str] = "not-joined"
    why: str


@dataclass(frozen=True)
class Prepare:
    """The round begins: bring the pair ``resume`` of the run, and be ready to start the command.

    ``every`` and ``extended`` are wire.Welcome's.
    """

    kind: ClassVar[str] = "prepare"
    round: int
    run: str
    incarnation: int
    resume: str | None
    every: str
    extended: bool


@dataclass(frozen=True)
class Go:
    """Start the command of that round, with ``environment`` added to its own."""

    kind: ClassVar[str] = "go"
    round: int
    environment: dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """Have the command of that round held at its next boundary, and say where it stands."""

    kind: ClassVar[str] = "ask"
    number: int
    round: int


@dataclass(frozen=True)
class ActAt:
    """All ranks do ``action`` (spool/gang_board.py) at boundary ``target``. Who owes a save does it at ``save_at``."""

    kind: ClassVar[str] = "act-at"
    number: int
    target: int
    action: int
    reason: str
    save_at: int


@dataclass(frozen=True)
class Leave:
    """The command may end now: nobody needs it any longer."""

    kind: ClassVar[str] = "leave"


@dataclass(frozen=True)
class End:
    """End the command: by SIGTERM, or at once."""

    kind: ClassVar[str] = "end"
    at_once: bool


@dataclass(frozen=True)
class Bye:
    """The gang ends with that exit code, for all."""

    kind: ClassVar[str] = "bye"
    code: int
    text: str


LinkMessage = (
    Challenge
    | Join
    | ReadyToStart
    | Stands
    | MachineStops
    | CommandEnded
    | Beat
    | Joined
    | NotJoined
    | Prepare
    | Go
    | Ask
    | ActAt
    | Leave
    | End
    | Bye
    | RankState
    | PairWritten
    | StopWanted
    | SaveWanted
    | Leaving
    | Refused
    | Unusable
    | TrainingBegan
    | TrainingFinished
)
_CODEC: Codec[LinkMessage] = Codec(LinkMessage.__args__)
encode, decode = _CODEC.encode, _CODEC.decode

"""The messages between the supervisor and the training process: one JSON object a line.

The supervisor listens on a Unix socket whose path is in the child's environment. The training process sends Hello and
receives Welcome. From then on either side may send at any time. When the stream ends, the other side is gone.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from types import UnionType
from typing import Any, ClassVar, get_origin, get_type_hints

from .errors import HoldfastError

SOCKET_VARIABLE = "HOLDFAST_SOCKET"
RUN_DIR_VARIABLE = "HOLDFAST_RUN_DIR"
MAX_LINE_BYTES = 1 << 20
_LONGEST_SECONDS = 1e9
_LAST_SIGNAL = 64


class WireError(HoldfastError):
    """The other side sent something that is not a message."""


@dataclass(frozen=True)
class Hello:
    """Child to supervisor, first of all."""

    kind: ClassVar[str] = "hello"
    pid: int


@dataclass(frozen=True)
class Welcome:
    """Supervisor to child. ``resume`` names the pair in ``run_dir`` to resume from; ``durable`` asks for fsync.

    ``claimed`` are the numbers of the run's trainings that earlier processes of this start of the command have come to.
    ``finished`` are those of them that reported their end. ``extended`` says that the run is to do more than before.
    """

    kind: ClassVar[str] = "welcome"
    run_dir: str
    run: str
    incarnation: int
    next_save: int
    resume: str | None
    durable: bool
    origin: dict[str, Any]
    claimed: list[Any] = dataclasses.field(default_factory=list)
    finished: list[Any] = dataclasses.field(default_factory=list)
    extended: bool = False


@dataclass(frozen=True)
class PairHere:
    """Supervisor to child, the answer to PairWanted: it is in the run's folder, whole, or there is an ``error``."""

    kind: ClassVar[str] = "pair-here"
    name: str
    error: str | None


@dataclass(frozen=True)
class Save:
    """Supervisor to child: save a pair at the next batch boundary and continue."""

    kind: ClassVar[str] = "save"
    reason: str


@dataclass(frozen=True)
class Stop:
    """Supervisor to child: save a pair at the next batch boundary and exit with 75."""

    kind: ClassVar[str] = "stop"
    reason: str


@dataclass(frozen=True)
class TrainingBegan:
    """Child to supervisor: training has begun, and from now on Stop leads to a saved pair.

    ``training`` is its number among the run's, and ``left``: there is something to train.
    """

    kind: ClassVar[str] = "training-began"
    epochs: int | None
    training: int = 0
    left: bool = True


@dataclass(frozen=True)
class TrainingClaimed:
    """Child to supervisor: this start of the command has come to the run's training of that ``number``."""

    kind: ClassVar[str] = "training-claimed"
    number: int


@dataclass(frozen=True)
class PairWanted:
    """Child to supervisor: it needs that pair of the run, and waits for PairHere."""

    kind: ClassVar[str] = "pair-wanted"
    name: str


@dataclass(frozen=True)
class PairSaved:
    """Child to supervisor: the pair and its manifest are in the run's folder.

    ``seconds`` is the time from the snapshot until the files were whole.
    """

    kind: ClassVar[str] = "pair-saved"
    name: str
    reason: str
    seconds: float

    def __post_init__(self) -> None:
        if not 0 <= self.seconds <= _LONGEST_SECONDS:  # nor is it NaN
            raise ValueError("seconds")


@dataclass(frozen=True)
class SaveFailed:
    """Child to supervisor: a state was not saved: it could not be written, or the script did not commit it."""

    kind: ClassVar[str] = "save-failed"
    error: str


@dataclass(frozen=True)
class Refused:
    """Child to supervisor: this script cannot train, from its checkpoint or at all, and a retry will not help."""

    kind: ClassVar[str] = "refused"
    error: str


@dataclass(frozen=True)
class Unusable:
    """Child to supervisor: the pair that Welcome named cannot be read. The child exits and wants an older one."""

    kind: ClassVar[str] = "unusable"
    name: str
    error: str


@dataclass(frozen=True)
class TrainingFinished:
    """Child to supervisor: all epochs are done. The rest of the script still runs."""

    kind: ClassVar[str] = "training-finished"
    training: int = 0


@dataclass(frozen=True)
class Unprotected:
    """A process of the command to the supervisor, in place of Hello and alone: it trains and has no session."""

    kind: ClassVar[str] = "unprotected"
    text: str


@dataclass(frozen=True)
class StacksBy:
    """Child to supervisor: ``signal`` makes process ``pid`` write the stacks of its threads to its standard error."""

    kind: ClassVar[str] = "stacks-by"
    pid: int
    signal: int

    def __post_init__(self) -> None:
        if not (0 < self.pid < 1 << 31 and 0 < self.signal <= _LAST_SIGNAL):
            raise ValueError("pid or signal")


@dataclass(frozen=True)
class Notice:
    """Child to supervisor: a message for the user."""

    kind: ClassVar[str] = "notice"
    text: str


Message = (
    Hello
    | Welcome
    | Save
    | Stop
    | PairHere
    | TrainingBegan
    | TrainingClaimed
    | PairWanted
    | PairSaved
    | SaveFailed
    | Refused
    | Unusable
    | TrainingFinished
    | Unprotected
    | StacksBy
    | Notice
)
_KINDS: dict[str, type[Any]] = {cls.kind: cls for cls in Message.__args__}


def encode(message: Message) -> bytes:
    return json.dumps({"kind": message.kind, **dataclasses.asdict(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Raises WireError if ``line`` is not one well-formed message."""
    try:
        document = json.loads(line)
        cls = _KINDS[document.pop("kind")]
        message: Message = cls(**document)
        _check(message)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WireError(f"not a message: {line[:80]!r} ({type(error).__name__})") from None
    return message


def _check(message: Message) -> None:
    hints = get_type_hints(type(message))
    for field in dataclasses.fields(message):
        hint = hints[field.name]
        kind = hint if isinstance(hint, UnionType) else get_origin(hint) or hint
        if not isinstance(getattr(message, field.name), kind):
            raise TypeError(field.name)

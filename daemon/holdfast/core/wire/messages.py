"""The messages between the supervisor and the training process: one JSON object a line.

The supervisor listens on a Unix socket whose path is in the child's environment. The training process sends Hello and
receives Welcome. From then on either side may send at any time. When the stream ends, the other side is gone.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

SOCKET_VARIABLE = "HOLDFAST_SOCKET"
RUN_DIR_VARIABLE = "HOLDFAST_RUN_DIR"
_LONGEST_SECONDS = 1e9
_LAST_SIGNAL = 64
MOST_METRICS = 100
_LONGEST_METRIC = 200


@dataclass(frozen=True)
class Hello:
    """Child to supervisor, first of all. ``preload`` is what a later start may import beforehand (core/preload.py)."""

    kind: ClassVar[str] = "hello"
    pid: int
    preload: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class StandingBy:
    """A process of the command to the supervisor, in place of Hello: its script begins when it receives a byte."""

    kind: ClassVar[str] = "standing-by"
    pid: int


@dataclass(frozen=True)
class Welcome:
    """Supervisor to child. ``resume`` names the pair in ``run_dir`` to resume from; ``durable`` asks for fsync.

    ``claimed`` are the numbers of the run's trainings that earlier processes of this start of the command have come to.
    ``finished`` are those of them that reported their end. ``extended`` says that the run is to do more than before.
    ``every`` is when a training saves that does not say it itself (Cadence.parse). ``rank`` of ``ranks`` is the
    process's number where several machines train together.
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
    every: str = "epoch"
    rank: int = 0
    ranks: int = 1


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

    ``training`` is its number among the run's, and ``left``: there is something to train. ``batches`` are those of an
    epoch, where they are known.
    """

    kind: ClassVar[str] = "training-began"
    epochs: int | None
    training: int = 0
    left: bool = True
    batches: int | None = None


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

    ``seconds`` is the time from the snapshot until the files were whole. ``batch`` counts those done in the epoch, and
    ``metrics`` are the manifest's, MOST_METRICS of them at most. ``validated`` are the seconds of validation so far, as
    on the board. ``fit`` is the manifest's.
    """

    kind: ClassVar[str] = "pair-saved"
    name: str
    reason: str
    seconds: float
    batch: int | None = None
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    validated: float = 0.0
    fit: int = 1

    def __post_init__(self) -> None:
        if not all(0 <= seconds <= _LONGEST_SECONDS for seconds in (self.seconds, self.validated)):  # nor is it NaN
            raise ValueError("seconds")
        if len(self.metrics) > MOST_METRICS or not all(map(_is_metric, self.metrics.items())):
            raise ValueError("metrics")
        if self.fit < 1:
            raise ValueError("fit")


@dataclass(frozen=True)
class SavesEvery:
    """Child to supervisor: by ``every="auto"`` it saves each so many ``seconds``; a pair costs it ``cost`` seconds."""

    kind: ClassVar[str] = "saves-every"
    seconds: float
    cost: float

    def __post_init__(self) -> None:
        if not (0 <= self.seconds <= _LONGEST_SECONDS and 0 <= self.cost <= _LONGEST_SECONDS):
            raise ValueError("seconds or cost")


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
class Imported:
    """A process of the command to the supervisor, in place of Hello and alone: it has imported holdfast."""

    kind: ClassVar[str] = "imported"


@dataclass(frozen=True)
class NotServed:
    """A process of the command to the supervisor, in place of Hello and alone: no training of it can be resumed."""

    kind: ClassVar[str] = "not-served"
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
    """Child to supervisor: a message for the user, who need do nothing about it unless it is a ``warning``."""

    kind: ClassVar[str] = "notice"
    text: str
    warning: bool = True


def bounded(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """The first metrics that a message may bring, as numbers; None for what is not finite."""
    named = [(name, value) for name, value in metrics.items() if len(name) <= _LONGEST_METRIC][:MOST_METRICS]
    return {name: _finite(value) for name, value in named}


def _finite(value: float | None) -> float | None:
    try:
        number = math.nan if value is None else float(value)
    except (OverflowError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _is_metric(item: tuple[Any, Any]) -> bool:
    name, value = item
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return len(name) <= _LONGEST_METRIC and (value is None or number)

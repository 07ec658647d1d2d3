"""What happens to the supervisor: the events that core/machine/table.py decides on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import Exit
from .crash_signature import Failure


@dataclass(frozen=True)
class NoNotice:
    """A source of notices looked, and no interruption notice of its own stands (any more)."""

    source: str = ""


@dataclass(frozen=True)
class NoticeStands:
    """An interruption notice; the machine goes away in ``seconds``, if that is known. A source has one at a time.

    ``until`` says in words when a machine that stays is free of it, where that is known: 'until …'.
    """

    what: str
    seconds: float | None = None
    source: str = ""
    until: str = ""


@dataclass(frozen=True)
class RebalanceRecommended:
    """EC2 sees a raised risk of interruption; nothing is certain yet."""


@dataclass(frozen=True)
class StopRequested:
    """SIGTERM or SIGINT."""

    what: str


@dataclass(frozen=True)
class OutOfTime:
    """The run reached the age of --max-hours."""


@dataclass(frozen=True)
class FolderSeen:
    """The run's folder, looked at before every other event until the command is first started.

    ``unstored``: its newest pair is on this machine only.
    """

    unstored: bool


@dataclass(frozen=True)
class Ready:
    """The lease is held and the run's folder is there: the command may start while its pair is still on the way.

    ``pairs`` says whether the run has any.
    """

    pairs: bool = False


@dataclass(frozen=True)
class Restored:
    """``checkpoint`` is here, the pair to resume from; ``complete`` says that there is nothing to do.

    ``over`` says why nothing may be trained now, though an earlier start left pairs here that the store lacks;
    ``out_of_time``, that the reason is the run's age.
    ``midway`` says that the checkpoint is not one of a training's end.
    ``run`` is the complete run, and ``otherwise`` what is not as it was when that was trained.
    """

    complete: bool = False
    checkpoint: str | None = None
    step: int = 0
    midway: bool = False
    over: str = ""
    out_of_time: bool = False
    run: str = ""
    otherwise: str = ""


@dataclass(frozen=True)
class RestoreFailed:
    error: str
    code: Exit


@dataclass(frozen=True)
class Spawned:
    pid: int


@dataclass(frozen=True)
class SpawnFailed:
    """The command could not be started; where that is ``for_good``, it never can be: there is no such program.

    ``chance`` is uniform in [0, 1), for the backoff.
    """

    error: str
    for_good: bool = False
    chance: float = 0.0


@dataclass(frozen=True)
class TrainingConnected:
    """A process of the command opened its session: a training is about to begin."""


@dataclass(frozen=True)
class TrainingUnprotected:
    """A process of the command trains without a session. ``text`` is for people."""

    text: str


@dataclass(frozen=True)
class NotImported:
    """A process of the command loaded TensorFlow or Keras ``seconds`` ago, and none has imported holdfast."""

    seconds: float = 0.0


@dataclass(frozen=True)
class TrainingNotServed:
    """A process of the command is about to train, and ``--auto`` cannot make that resumable. ``text`` is for people."""

    text: str


@dataclass(frozen=True)
class TrainingStarted:
    """The child entered its training loop: it now serves a request to save or stop. ``left``: something is to train.

    ``training`` is one number for each training of a start: one that is begun again after an error keeps its number.
    """

    training: int = 0
    left: bool = True


@dataclass(frozen=True)
class CheckpointRefused:
    """The script cannot use the checkpoint (its model is another), or trains what cannot be resumed: starting it again
    will not help.
    """

    error: str


@dataclass(frozen=True)
class PairUnusable:
    """The child cannot read the pair that it was given; it ends, and is started again with an older one."""

    name: str
    error: str


@dataclass(frozen=True)
class TrainingEnded:
    """The child's training loop ended by itself; the script's tail is left. ``training`` as in TrainingStarted."""

    training: int = 0


@dataclass(frozen=True)
class Progressed:
    """At least one more batch was trained; ``step`` counts the batches in all, those of earlier machines too."""

    step: int = 1


@dataclass(frozen=True)
class PairSpooled:
    """A pair is in the spool."""

    name: str


@dataclass(frozen=True)
class SavingFailed:
    """The child could not write a pair, or did not commit its last batches."""


@dataclass(frozen=True)
class PairStored:
    """A pair is in the store, manifest and all."""

    name: str


@dataclass(frozen=True)
class PairLost:
    """A pair can never be stored: its files are damaged or its name is taken."""

    name: str
    error: str


@dataclass(frozen=True)
class PairSkipped:
    """A pair that was saved to resume from only, and that a newer one replaced before it was stored."""

    name: str


@dataclass(frozen=True)
class PairLeftBehind:
    """An older pair that cannot reach the store before the deadline; it stays in the work dir."""

    name: str


@dataclass(frozen=True)
class ChildExited:
    """``code`` as a shell reports it (128 + n for signal n). ``chance`` is uniform in [0, 1), for the backoff.

    ``how`` is for people: what ended it, where the code alone does not say it. ``failure`` is the exception that its
    last lines show; ``failed_later``: it was written after the last training process had ended, so it is another one's.
    ``left_running`` is how many processes that it had started did not end with it; they were ended
    after it. ``tensorflow``: it had loaded that library. ``signalled``: others than the supervisor sent SIGTERM or
    the like to all its processes. ``python`` and ``keras``: under ``--auto``, an interpreter of it, and one with Keras,
    have reported. ``own_python``: its program is the Python of holdfast's own environment. ``lost``: it ended because
    the machine of another rank of the gang was lost, and how. ``stood_by``: it was an interpreter that was started
    ahead, and nothing of its script had begun.
    """

    code: int
    chance: float = 0.0
    how: str = ""
    failure: Failure | None = None
    failed_later: bool = False
    left_running: int = 0
    tensorflow: bool = False
    signalled: bool = False
    python: bool = False
    keras: bool = False
    own_python: bool = False
    lost: str = ""
    stood_by: bool = False


@dataclass(frozen=True)
class GangBroken:
    """A rank of the gang is gone, or failed: what is left of the gang's command has nothing to train with."""

    text: str


@dataclass(frozen=True)
class Stalled:
    """The command lives and gave no sign of life for ``seconds``: no batch, no CPU, no bytes."""

    seconds: float


@dataclass(frozen=True)
class SpoolScanned:
    """The pairs in the spool that the store does not have, after the child is gone."""

    owed: frozenset[str]


@dataclass(frozen=True)
class Finalized:
    """Logs are stored and, for a complete run, the mark is set; or the store refuses that for good, with this text."""

    refusal: str = ""


@dataclass(frozen=True)
class LeaseLost:
    holder: str


@dataclass(frozen=True)
class Tick:
    """Time passed."""


Event = (
    NoNotice
    | NoticeStands
    | RebalanceRecommended
    | StopRequested
    | OutOfTime
    | FolderSeen
    | Ready
    | Restored
    | RestoreFailed
    | Spawned
    | SpawnFailed
    | TrainingConnected
    | TrainingUnprotected
    | NotImported
    | TrainingNotServed
    | TrainingStarted
    | CheckpointRefused
    | PairUnusable
    | TrainingEnded
    | Progressed
    | PairSpooled
    | SavingFailed
    | PairStored
    | PairLost
    | PairSkipped
    | PairLeftBehind
    | ChildExited
    | GangBroken
    | Stalled
    | SpoolScanned
    | Finalized
    | LeaseLost
    | Tick
)


def in_order(arrived: Iterable[Event]) -> list[Event]:
    """What arrived together, in the order in which it is decided on.

    News of stored pairs comes first: a stop that gives up all that is owed must not call it left behind.
    """
    return sorted(arrived, key=lambda event: not isinstance(event, PairStored))

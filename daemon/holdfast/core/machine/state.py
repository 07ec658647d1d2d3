"""What the supervisor's machine remembers, and all that a rule decides on. core/machine/table.py has the theory."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from ..errors import Exit
from ..policy import Backoff
from .effects import Effect
from .events import NoticeStands


class Phase(Enum):
    RESTORING = "restoring"
    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    FLUSHING = "flushing"
    BACKOFF = "backoff"
    DONE = "done"
    FAILED = "failed"


class Outcome(Enum):
    """What an ending is about to be."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"
    FENCED = "fenced"


LEAST_WINDOW = 10.0
MOST_DEATHS = 3
NO_TRAINING_TIME = 300.0


@dataclass(frozen=True)
class Rules:
    """``drain_time`` is the seconds that a stop may take in all where no notice says less.

    ``dump_time`` is how long a command that hangs has to write its stacks, or to do a batch after all. ``left_here``
    says that an earlier start left a state that is on this machine alone.
    """

    drain_time: float = 110.0
    term_time: float = 5.0
    dump_time: float = 3.0
    max_restarts: int = 5
    backoff: Backoff = Backoff()
    rebalance: str = "save"
    left_here: bool = False


@dataclass(frozen=True)
class State:
    """All that the supervisor remembers. The times are monotonic seconds; None is never.

    ``storing`` says that what was left here is stored while a notice stands, ``bringing`` that the pair to go on from
    is on its way. ``resumed`` is the one that the command was last started from, ``moved`` whether it trained a batch
    since, and ``deaths`` how often in a row it died without one. ``stalled`` says that it hangs and is being ended.
    ``seen_training`` says that a training of the command has begun under holdfast, now or in an earlier start;
    ``warn_at`` is when the user is warned that none has. ``unmarked`` says that the store refuses the mark of a
    complete run. ``left_behind`` says that older pairs stay unsent in the work dir, ``fault`` how a run ends that could
    not be restored.
    ``failures`` counts those in a row without progress, and ``failure`` tells of them once they are too many.
    ``step`` is the furthest batch ever, ``at`` that of this start.
    """

    rules: Rules = Rules()
    phase: Phase = Phase.RESTORING
    restore_asked: bool = False
    storing: bool = False
    bringing: bool = False
    leased: bool = False
    notice: NoticeStands | None = None
    spawned: bool = False
    training: bool = False
    finished: bool = False
    seen_training: bool = False
    trained: bool = False
    refused: bool = False
    unusable: bool = False
    stopping: str | None = None
    stops: int = 0
    failures: int = 0
    failure: str = ""
    resumed: str | None = None
    moved: bool = False
    deaths: int = 0
    stalled: bool = False
    avoid: frozenset[str] = frozenset()
    owed: frozenset[str] = frozenset()
    left_behind: bool = False
    step: int = 0
    at: int = 0
    saved_step: int = 0
    save_failed: bool = False
    lost: tuple[int, int] | None = None
    newest_stored: tuple[int, int] = (0, 0)
    outcome: Outcome | None = None
    scanned: bool = False
    finalizing: bool = False
    unmarked: bool = False
    deadline: float | None = None
    term_at: float | None = None
    kill_at: float | None = None
    retry_at: float | None = None
    warn_at: float | None = None
    fault: Exit | None = None
    exit_code: Exit | None = None

    @property
    def ended(self) -> bool:
        return self.phase in (Phase.DONE, Phase.FAILED)

    def next_time(self) -> float | None:
        """When a Tick is next needed."""
        warn_at = self.warn_at if self.phase in (Phase.STARTING, Phase.RUNNING) else None
        times = (self.deadline, self.term_at, self.kill_at, self.retry_at, warn_at)
        return min((t for t in times if t is not None), default=None)


Step: TypeAlias = tuple[State, tuple[Effect, ...]]

"""What the supervisor's machine remembers, and all that a rule decides on. core/machine/table.py has the theory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from ..errors import Exit
from ..policy import Backoff
from .crash_signature import Failure
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
ONE_STOP_TIME = 2.0


@dataclass(frozen=True)
class Rules:
    """``drain_time`` is the seconds that a stop may take in all where no notice says less.

    ``dump_time`` is how long a command that hangs has to write its stacks, or to do a batch after all. ``auto``: each
    fit is to be made resumable by itself.
    """

    drain_time: float = 110.0
    term_time: float = 5.0
    dump_time: float = 3.0
    max_restarts: int = 5
    backoff: Backoff = Backoff()
    rebalance: str = "save"
    auto: bool = False


@dataclass(frozen=True)
class State:
    """All that the supervisor remembers. The times are monotonic seconds; None is never."""

    rules: Rules = Rules()
    phase: Phase = Phase.RESTORING

    # Before the command: restoring, and the pair to resume from.
    restore_asked: bool = False
    storing: bool = False  # what an earlier start left here is stored while a notice stands
    bringing: bool = False  # the pair to resume from is on its way here
    begun: bool = False  # the command was started at least once
    unstored_here: bool = False  # until then: the run's newest pair is on this machine only

    # The command, and what is known of its training.
    spawned: bool = False
    connected: bool = False  # a session is open, and no training has begun in it yet
    unprotected: bool = False  # a process of it trains without a session
    training: bool = False
    finished: bool = False  # the training that began last is over
    unfinished: frozenset[int] = frozenset()  # trainings of this start that began and are not over
    seen_training: bool = False  # a training began under holdfast, in this start of the command or in an earlier one
    warn_at: float | None = None  # when to warn the user that none has
    midway: bool | None = (
        None  # is the run's newest state of a training that never reported its end? None: not known yet
    )
    trained: bool = False  # the run has trained a batch, ever
    refused: bool = False
    unusable: bool = False
    stalled: bool = False  # it hangs and is being ended

    # What asks for a stop.
    awaited: frozenset[str] = frozenset()  # sources of notices that have not looked yet: nothing is started before
    notices: tuple[NoticeStands, ...] = ()  # those that stand, one of each source
    stopping: str | None = None
    stops: int = 0
    ending: bool = False  # the stop came once all training was over; the script's rest may end by itself
    stopped_at: float = -math.inf  # when the last of them came
    out_of_time: bool = False  # the run is older than --max-hours

    # Failures in a row without progress; ``failure`` is the text once they are too many.
    failures: int = 0
    losses: int = 0  # of ranks of its gang, since the last new batch
    failure: str = ""
    failed_by: Failure | None = None  # the last of them
    resumed: str | None = None  # the pair that the command was last started from
    moved: bool = False  # it trained a batch since
    whole: bool = False  # the training was restored with nothing left to train
    deaths: int = 0  # how often in a row it died of that pair without one
    avoid: frozenset[str] = frozenset()

    # Batches: the furthest ever, that of this start of the command, and that of the newest pair.
    step: int = 0
    at: int = 0
    saved_step: int = 0

    # Pairs.
    owed: frozenset[str] = frozenset()  # saved here and not yet in the store
    left_behind: bool = False  # older pairs stay in the work dir, as no time was left to store them
    save_failed: bool = False
    lost: tuple[int, int] | None = None
    newest_stored: tuple[int, int] = (0, 0)

    # The end.
    outcome: Outcome | None = None
    scanned: bool = False
    finalizing: bool = False
    unmarked: bool = False  # the store refuses the mark of a complete run
    stopped_for_good: bool = False  # the exit code says that the run is not to be started again
    fault: Exit | None = None  # how a run ends that could not be restored
    exit_code: Exit | None = None

    # When a Tick has something to do.
    deadline: float | None = None
    term_at: float | None = None
    kill_at: float | None = None
    retry_at: float | None = None

    @property
    def notice(self) -> NoticeStands | None:
        """The one that came last, if any stands."""
        return self.notices[-1] if self.notices else None

    def noticed(self, event: NoticeStands) -> State:
        return replace(self.cleared(event.source), notices=(*self.cleared(event.source).notices, event))

    def cleared(self, source: str) -> State:
        """Without the notice of that source, which has looked."""
        others = tuple(one for one in self.notices if one.source != source)
        return replace(self, notices=others, awaited=self.awaited - {source})

    @property
    def trained_to_the_end(self) -> bool:
        """No training of this start that began, or was about to, is left."""
        return self.finished and not self.unfinished and not self.connected

    @property
    def ended(self) -> bool:
        return self.phase in (Phase.DONE, Phase.FAILED)

    def next_time(self) -> float | None:
        """When a Tick is next needed."""
        warn_at = self.warn_at if self.phase in (Phase.STARTING, Phase.RUNNING) else None
        times = (self.deadline, self.term_at, self.kill_at, self.retry_at, warn_at)
        return min((t for t in times if t is not None), default=None)


Step: TypeAlias = tuple[State, tuple[Effect, ...]]

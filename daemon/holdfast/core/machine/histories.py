"""Histories that lead the machine into every phase, in each shade that matters to what it does next.

core/machine/explain.py asks its questions in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Exit
from . import effects
from .events import (
    CheckpointRefused,
    ChildExited,
    Event,
    Finalized,
    LeaseLost,
    NoNotice,
    NoticeStands,
    OutOfTime,
    PairSpooled,
    PairStored,
    PairUnusable,
    Progressed,
    RebalanceRecommended,
    Restored,
    RestoreFailed,
    SpoolScanned,
    StopRequested,
    Tick,
    TrainingEnded,
    TrainingStarted,
)
from .table import Phase, Rules, State, Step, step

PAIR, NEXT = "model-0000-00000001-none-i1-q1", "model-0000-00000002-none-i1-q2"
NOTHING: frozenset[str] = frozenset()
STOP, NOTICE = StopRequested("SIGTERM"), NoticeStands("spot notice", 120.0)
LATE = 1e6  # whatever has a time is due by then

START: tuple[Event, ...] = (NoNotice(), Restored())
TRAIN = (*START, TrainingStarted(), Progressed(1), PairSpooled(PAIR), PairStored(PAIR))
TAIL = (*TRAIN, TrainingEnded())
RESUMED = (NoNotice(), Restored(checkpoint=PAIR, step=1))
CRASH = (*TRAIN, ChildExited(1))


@dataclass(frozen=True)
class Situation:
    """Where the supervisor may be, in words, and the events that bring it there from its start."""

    words: str
    phase: Phase
    history: tuple[Event, ...]

    def state(self, rules: Rules | None = None) -> State:
        return after_events(State(rules=rules or Rules()), *self.history)[0]


SITUATIONS = (
    Situation("a notice stands, nothing is started yet", Phase.RESTORING, (NOTICE,)),
    Situation("waits for the lease, or fetches the newest pair", Phase.RESTORING, (NoNotice(),)),
    Situation("the command has begun and does not train yet", Phase.STARTING, START),
    Situation("it trains", Phase.RUNNING, TRAIN),
    Situation("its training is done, the script's tail runs", Phase.RUNNING, TAIL),
    Situation("asked to save and to stop, by a notice", Phase.DRAINING, (*TRAIN, NOTICE)),
    Situation("stores what a stop left", Phase.FLUSHING, (*TRAIN, PairSpooled(NEXT), NOTICE, ChildExited(75))),
    Situation("stores what a complete training left", Phase.FLUSHING, (*TRAIN, PairSpooled(NEXT), ChildExited(0))),
    Situation("stores what a failed command left", Phase.FLUSHING, (*START, PairSpooled(NEXT), ChildExited(1))),
    Situation("waits before the command is started again", Phase.BACKOFF, CRASH),
    Situation("fetches a pair for a command that crashed", Phase.RESTORING, (*CRASH, Tick())),
)

# What only the diagram needs: how the last edges are walked.
CORNERS = (
    Situation("asked a second time", Phase.DRAINING, (*TRAIN, STOP, STOP)),
    Situation("flushing, asked twice", Phase.FLUSHING, (*TRAIN, PairSpooled(NEXT), ChildExited(0), STOP, STOP)),
    Situation("fenced", Phase.DRAINING, (*TRAIN, LeaseLost("another"))),
    Situation("all is stored", Phase.FLUSHING, (*TRAIN, ChildExited(0), SpoolScanned(NOTHING))),
    Situation("all is stored of a failure", Phase.FLUSHING, (*START, ChildExited(1), SpoolScanned(NOTHING))),
    Situation("the pair is no good", Phase.STARTING, (*START, PairUnusable(PAIR, "damaged"))),
    Situation("the pair is no good after all", Phase.RUNNING, (*TRAIN, PairUnusable(PAIR, "damaged"))),
    Situation("begins for the second time", Phase.STARTING, RESUMED),
    Situation("cannot go on with its pair", Phase.RUNNING, (*TRAIN, CheckpointRefused("the model is another"))),
)


def after_events(state: State, *events: Event) -> Step:
    """A Tick comes when its time has come."""
    done: tuple[effects.Effect, ...] = ()
    for event in events:
        state, done = step(state, event, LATE if isinstance(event, Tick) else 0.0)
    return state, done


# What may end a phase. An event that comes to do so belongs in here.
TRIED: tuple[Event, ...] = (
    Restored(),
    Restored(complete=True),
    Restored(over="older than --max-hours"),
    RestoreFailed("the store is away", Exit.USAGE),
    TrainingStarted(),
    ChildExited(0),
    ChildExited(75),
    ChildExited(1),
    STOP,
    OutOfTime(),
    NoticeStands("spot notice", 60.0),
    RebalanceRecommended(),
    LeaseLost("another"),
    Finalized(),
    Tick(),
)

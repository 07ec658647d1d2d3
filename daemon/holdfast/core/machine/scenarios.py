"""Histories that lead the machine into every phase, in each shade that matters to what it does next.

core/machine/explain.py asks its questions in those that have words for people; the tests go over all of them.
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
    Ready,
    RebalanceRecommended,
    Restored,
    RestoreFailed,
    Spawned,
    SpawnFailed,
    SpoolScanned,
    Stalled,
    StopRequested,
    Tick,
    TrainingConnected,
    TrainingEnded,
    TrainingStarted,
)
from .state import ONE_STOP_TIME
from .table import Phase, Rules, State, Step, step

PAIR, NEXT = "model-0000-00000001-none-i1-q1", "model-0000-00000002-none-i1-q2"
NOTHING: frozenset[str] = frozenset()
STOP, NOTICE, STALLED = StopRequested("SIGTERM"), NoticeStands("spot notice", 120.0), Stalled(1800.0)
LATE = 1e6  # whatever has a time is due by then

START: tuple[Event, ...] = (NoNotice(), Restored(), Spawned(7))
EARLY: tuple[Event, ...] = (NoNotice(), Ready(pairs=True), Spawned(7))
RESUMED: tuple[Event, ...] = (NoNotice(), Restored(checkpoint=PAIR, step=1), Spawned(7))
TRAIN = (*START, TrainingStarted(), Progressed(1))
SAVED = (*TRAIN, PairSpooled(PAIR), PairStored(PAIR))
TAIL = (*SAVED, TrainingEnded())
CRASH = (*SAVED, ChildExited(1))
FLUSH = (*TRAIN, STOP, ChildExited(75))
OWING = (*SAVED, PairSpooled(NEXT))


@dataclass(frozen=True)
class Situation:
    """Where the supervisor may be, and the events that bring it there from its start.

    ``words`` is for people; empty where the documents need not ask what it does next.
    """

    name: str
    phase: Phase
    history: tuple[Event, ...]
    words: str = ""

    def state(self, rules: Rules | None = None) -> State:
        return after_events(State(rules=rules or Rules()), *self.history)[0]


_P = Phase
ALL = (
    Situation("before the first look", _P.RESTORING, ()),
    Situation("waiting while a notice stands", _P.RESTORING, (NOTICE,), "a notice stands, nothing is started yet"),
    Situation("restoring", _P.RESTORING, (NoNotice(),), "waits for the lease, or fetches the newest pair"),
    Situation("starting", _P.STARTING, START, "the command has begun and does not train yet"),
    Situation("starting again", _P.STARTING, RESUMED),
    Situation("starting while the pair is on its way", _P.STARTING, EARLY),
    Situation("starting with an unusable pair", _P.STARTING, (*START, PairUnusable(PAIR, "damaged"))),
    Situation("connected", _P.STARTING, (*START, TrainingConnected())),
    Situation("hanging at the start", _P.STARTING, (*START, STALLED)),
    Situation("training", _P.RUNNING, TRAIN),
    Situation("training after a save", _P.RUNNING, SAVED, "it trains"),
    Situation("owing a pair", _P.RUNNING, OWING),
    Situation("training for a second time", _P.RUNNING, (*TAIL, TrainingConnected(), TrainingStarted(1))),
    Situation("in the script's tail", _P.RUNNING, (*TRAIN, TrainingEnded())),
    Situation("in the tail after a save", _P.RUNNING, TAIL, "its training is done, the script's tail runs"),
    Situation("training with an unusable pair", _P.RUNNING, (*SAVED, PairUnusable(PAIR, "damaged"))),
    Situation("training with a refused pair", _P.RUNNING, (*SAVED, CheckpointRefused("the model is another"))),
    Situation("hanging", _P.RUNNING, (*TRAIN, STALLED)),
    Situation("draining for a notice", _P.DRAINING, (*SAVED, NOTICE), "asked to save and to stop, by a notice"),
    Situation("draining", _P.DRAINING, (*TRAIN, STOP)),
    Situation("draining before training", _P.DRAINING, (*START, STOP)),
    Situation("draining while the pair is on its way", _P.DRAINING, (*EARLY, STOP)),
    Situation("draining the tail", _P.DRAINING, (*TRAIN, TrainingEnded(), STOP)),
    Situation("draining what hangs", _P.DRAINING, (*TRAIN, STALLED, STOP)),
    Situation("hurrying", _P.DRAINING, (*TRAIN, STOP, STOP)),
    Situation("hurrying after a save", _P.DRAINING, (*SAVED, STOP, STOP)),
    Situation("fenced", _P.DRAINING, (*TRAIN, LeaseLost("another"))),
    Situation("flushing", _P.FLUSHING, FLUSH),
    Situation("flushing a stop", _P.FLUSHING, (*OWING, NOTICE, ChildExited(75)), "stores what a stop left"),
    Situation(
        "flushing the end",
        _P.FLUSHING,
        (*OWING, TrainingEnded(), ChildExited(0)),
        "stores what a complete training left",
    ),
    Situation(
        "flushing a failure",
        _P.FLUSHING,
        (*START, PairSpooled(NEXT), ChildExited(1)),
        "stores what a failed command left",
    ),
    Situation("flushing in a hurry", _P.FLUSHING, (*OWING, TrainingEnded(), ChildExited(0), STOP, STOP)),
    Situation("flushing an owed pair", _P.FLUSHING, (*FLUSH, SpoolScanned(frozenset({NEXT})))),
    Situation("finalizing", _P.FLUSHING, (*FLUSH, SpoolScanned(NOTHING))),
    Situation("finalizing the end", _P.FLUSHING, (*TAIL, ChildExited(0), SpoolScanned(NOTHING))),
    Situation("finalizing a failure", _P.FLUSHING, (*START, ChildExited(1), SpoolScanned(NOTHING))),
    Situation("backing off", _P.BACKOFF, (*TRAIN, ChildExited(1))),
    Situation("backing off after a save", _P.BACKOFF, CRASH, "waits before the command is started again"),
    Situation("backing off while the pair is on its way", _P.BACKOFF, (*EARLY, ChildExited(1))),
    Situation("restoring after a crash", _P.RESTORING, (*CRASH, Tick()), "fetches a pair for a command that crashed"),
    Situation("done", _P.DONE, (*FLUSH, SpoolScanned(NOTHING), Finalized())),
    Situation("failed", _P.FAILED, (*START, ChildExited(1), SpoolScanned(NOTHING), Finalized())),
)
SITUATIONS = tuple(one for one in ALL if one.words)


def after_events(state: State, *events: Event) -> Step:
    done: tuple[effects.Effect, ...] = ()
    for event in events:
        state, done = step(state, event, time_of(state, event))
    return state, done


def time_of(state: State, event: Event) -> float:
    """A Tick comes when its time has come, and a signal so long after the one before that it is another."""
    if isinstance(event, StopRequested):
        return state.stops * ONE_STOP_TIME
    return LATE if isinstance(event, Tick) else 0.0


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
    SpawnFailed("no process left"),
    SpawnFailed("no such program", for_good=True),
    STOP,
    OutOfTime(),
    NoticeStands("spot notice", 60.0),
    RebalanceRecommended(),
    LeaseLost("another"),
    Finalized(),
    Tick(),
)

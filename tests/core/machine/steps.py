"""What the tests of the machine share: its settings, its events, and how they are put to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from holdfast.core.errors import Exit
from holdfast.core.machine.effects import (
    Effect,
    Say,
)
from holdfast.core.machine.events import (
    CheckpointRefused,
    ChildExited,
    Event,
    Finalized,
    FolderSeen,
    GangBroken,
    LeaseLost,
    NoNotice,
    NoticeStands,
    NotImported,
    OutOfTime,
    PairLeftBehind,
    PairLost,
    PairSkipped,
    PairSpooled,
    PairStored,
    PairUnusable,
    Progressed,
    Ready,
    RebalanceRecommended,
    Restored,
    RestoreFailed,
    SavingFailed,
    Spawned,
    SpawnFailed,
    SpoolScanned,
    Stalled,
    StopRequested,
    Tick,
    TrainingConnected,
    TrainingEnded,
    TrainingNotServed,
    TrainingStarted,
    TrainingUnprotected,
)
from holdfast.core.machine.scenarios import ALL, NEXT, NOTHING, PAIR, STALLED, STOP
from holdfast.core.machine.state import ONE_STOP_TIME
from holdfast.core.machine.table import Phase, Rules, State, Step, step
from holdfast.core.policy import Backoff

RULES = Rules(drain_time=100, term_time=5, dump_time=3, max_restarts=2, backoff=Backoff(first=4, factor=2, most=60))
NOTICE = NoticeStands("spot notice", 80)
NO_LONGER_OWED = SpoolScanned(NOTHING)
FIRST, SECOND = PAIR, NEXT

SITUATIONS = {one.name: one for one in ALL}
"""Each phase, in every shade that matters to a rule, by name."""
LIVING = [one.name for one in ALL if one.phase not in (Phase.DONE, Phase.FAILED)]
ENDED = [one.name for one in ALL if one.name not in LIVING]

EVENTS: tuple[Event, ...] = (
    NoNotice(),
    NOTICE,
    RebalanceRecommended(),
    STOP,
    OutOfTime(),
    FolderSeen(unstored=True),
    Ready(),
    Restored(),
    RestoreFailed("no such bucket", Exit.USAGE),
    Spawned(7),
    SpawnFailed("no process left"),
    TrainingConnected(),
    TrainingUnprotected("no session"),
    NotImported(60.0),
    TrainingNotServed("the interpreter is too old"),
    TrainingStarted(),
    TrainingEnded(),
    CheckpointRefused("the model is another"),
    PairUnusable(FIRST, "its .h5 is damaged"),
    Progressed(),
    SavingFailed(),
    PairSpooled("p"),
    PairStored("p"),
    PairLost("p", "damaged"),
    PairSkipped("p"),
    PairLeftBehind("p"),
    ChildExited(1),
    STALLED,
    GangBroken("rank 1: its machine is lost"),
    SpoolScanned(frozenset({"p"})),
    Finalized(),
    LeaseLost("other"),
    Tick(),
)
VARIANTS: tuple[Event, ...] = (
    Restored(complete=True),
    Restored(over="it is too old"),
    Restored(checkpoint=FIRST),
    ChildExited(0),
    ChildExited(75),
    ChildExited(137, lost="rank 1: its machine is lost"),
    SpawnFailed("no such program", for_good=True),
    NO_LONGER_OWED,
    NoticeStands("spot notice", 1),
)
# What the supervisor itself asked for is answered in some phases only; anything else may arrive while it lives.
ANSWERED_IN: dict[type[Any], set[Phase]] = {
    Ready: {Phase.RESTORING, Phase.FLUSHING},
    Restored: {Phase.RESTORING, Phase.STARTING, Phase.DRAINING, Phase.FLUSHING, Phase.BACKOFF},
    RestoreFailed: {Phase.RESTORING, Phase.STARTING, Phase.DRAINING, Phase.FLUSHING, Phase.BACKOFF},
    ChildExited: {Phase.STARTING, Phase.RUNNING, Phase.DRAINING},
    SpawnFailed: {Phase.STARTING, Phase.DRAINING},
    Stalled: {Phase.STARTING, Phase.RUNNING, Phase.DRAINING},
    NotImported: {Phase.STARTING, Phase.RUNNING},
    SpoolScanned: {Phase.FLUSHING},
    Finalized: {Phase.FLUSHING},
}


def name_of(event: Event) -> str:
    return type(event).__name__


def allowed(state: State, event: Event) -> bool:
    return state.ended or state.phase in ANSWERED_IN.get(type(event), Phase)


def go(*events: Event, rules: Rules = RULES, now: float = 0.0) -> Step:
    """The state after all ``events``, and the effects of the last one."""
    return on(State(rules=rules), *events, now=now)


def on(state: State, *events: Event, now: float = 0.0) -> Step:
    """A signal comes so long after the one before that it is another."""
    effects: tuple[Effect, ...] = ()
    for event in events:
        later = state.stops * ONE_STOP_TIME if isinstance(event, StopRequested) else 0.0
        state, effects = step(state, event, now + later)
    return state, effects


def acts(effects: Iterable[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Say)]


def ticks_until_still(state: State, now: float) -> Step:
    """Ticks as the shell does, which must soon have nothing left to do at ``now``."""
    done: list[Effect] = []
    for _ in range(6):
        due = state.next_time()
        if due is None or due > now:
            return state, tuple(done)
        state, effects = step(state, Tick(), now)
        done += effects
    raise AssertionError(f"a busy loop: {state}")


def way(name: str) -> State:
    """The state that a situation of core/machine/scenarios.py leads to."""
    return SITUATIONS[name].state(RULES)


def again(state: State, *events: Event) -> State:
    """From BACKOFF through another start to another crash, with ``events`` in between."""
    due = state.next_time()
    assert due is not None
    return on(state, Tick(), Restored(), Spawned(7), *events, ChildExited(1), now=due)[0]

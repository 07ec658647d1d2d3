"""The supervisor's mind: phases, events, effects and one pure function, ``step``.

``step(state, event, now)`` answers what the new state is and what is to be done; it does nothing itself and knows no
clock. The shell (supervisor/loop.py) performs the effects and reports what came of them as further events. Time is
monotonic seconds. An event that a phase has no rule for raises IllegalTransition and changes nothing.

    RESTORING ──► STARTING ──► RUNNING ──► FLUSHING ──► DONE
        ▲             │           │ │          ▲    └──► FAILED
        │             └───────────┼─┼─► DRAINING
        └──────── BACKOFF ◄───────┘ └──────────┘

RESTORING  waits while an interruption notice stands, then for the lease
STARTING   the command runs and has not begun to train; the newest valid pair is on its way here, or is here
RUNNING    it trains
DRAINING   it was asked to stop, and has a little time to save
FLUSHING   it is gone; what it left goes to the store
BACKOFF    it crashed and will be started again
DONE       ended as it should: complete, or stopped with its state stored
FAILED     ended otherwise

The shape (events in, instructions out, failures come back as events) is that of dask.distributed's worker state
machine; the table with its refusal of illegal pairs is h11's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from .effects import (
    AskSave,
    AskStop,
    DropUploads,
    DumpStacks,
    Effect,
    ExitWith,
    Finalize,
    Kill,
    Restore,
    Say,
    ScanSpool,
    Spawn,
    Terminate,
    Upload,
)
from .errors import Exit, IllegalTransition
from .events import (
    CheckpointRefused,
    ChildExited,
    Event,
    Finalized,
    LeaseLost,
    NoNotice,
    NoticeStands,
    PairLeft,
    PairLost,
    PairSaved,
    PairSkipped,
    PairStored,
    PairUnusable,
    Progressed,
    Ready,
    RebalanceRecommended,
    Restored,
    RestoreFailed,
    SaveFailed,
    Spawned,
    SpoolScanned,
    Stalled,
    StopRequested,
    Tick,
    TrainingBegan,
    TrainingFinished,
)
from .manifest import CheckpointName
from .policy import Backoff, ask_time
from .words import count


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


# --- settings of the machine ---------------------------------------------------------------------------------------


LEAST_WINDOW = 10.0
MOST_DEATHS = 3


@dataclass(frozen=True)
class Rules:
    """``drain_time`` is the seconds that a stop may take in all where no notice says less.

    ``dump_time`` is how long a command that hangs has to write its stacks, or to do a batch after all.
    """

    drain_time: float = 110.0
    term_time: float = 5.0
    dump_time: float = 3.0
    max_restarts: int = 5
    backoff: Backoff = Backoff()
    rebalance: str = "save"


# --- state ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """All that the supervisor remembers. The times are monotonic seconds; None is never.

    ``bringing`` says that the pair to go on from is on its way. ``resumed`` is the one that the command was last
    started from, ``moved`` whether it trained a batch since, and ``deaths`` how often in a row it died without one.
    ``stalled`` says that it hangs and is being ended. ``left`` says that older pairs stay unsent in the work dir,
    ``fault`` how a run ends that could not be restored.
    """

    rules: Rules = Rules()
    phase: Phase = Phase.RESTORING
    restore_asked: bool = False
    bringing: bool = False
    leased: bool = False
    notice: NoticeStands | None = None
    spawned: bool = False
    training: bool = False
    finished: bool = False
    trained: bool = False
    refused: bool = False
    unusable: bool = False
    stopping: str | None = None
    stops: int = 0
    failures: int = 0
    resumed: str | None = None
    moved: bool = False
    deaths: int = 0
    stalled: bool = False
    avoid: frozenset[str] = frozenset()
    owed: frozenset[str] = frozenset()
    left: bool = False
    step: int = 0
    saved_step: int = 0
    save_failed: bool = False
    lost: tuple[int, int] | None = None
    newest_stored: tuple[int, int] = (0, 0)
    outcome: Outcome | None = None
    scanned: bool = False
    finalizing: bool = False
    deadline: float | None = None
    term_at: float | None = None
    kill_at: float | None = None
    retry_at: float | None = None
    fault: Exit | None = None
    exit_code: Exit | None = None

    @property
    def ended(self) -> bool:
        return self.phase in (Phase.DONE, Phase.FAILED)

    def next_time(self) -> float | None:
        """When a Tick is next needed."""
        times = (self.deadline, self.term_at, self.kill_at, self.retry_at)
        return min((t for t in times if t is not None), default=None)


Step = tuple[State, tuple[Effect, ...]]
_Rule = Callable[[State, Any, float], Step]


def step(state: State, event: Event, now: float) -> Step:
    """Raises IllegalTransition, with nothing changed, for an event that the present phase cannot see."""
    rule = TABLE.get((state.phase, type(event)))
    if rule is None:
        raise IllegalTransition(f"{type(event).__name__} in phase {state.phase.value}")
    return rule(state, event, now)


# --- rules: notices and stops --------------------------------------------------------------------------------------


def _stay(state: State, event: Event, now: float) -> Step:
    return state, ()


def _clear_before_restore(state: State, event: NoNotice, now: float) -> Step:
    state = replace(state, notice=None)
    if state.restore_asked:
        return state, ()
    return replace(state, restore_asked=True), (Restore(),)


def _forget_notice(state: State, event: NoNotice, now: float) -> Step:
    return replace(state, notice=None), ()


def _notice_while_restoring(state: State, event: NoticeStands, now: float) -> Step:
    if state.restore_asked:
        return _give_up_restoring(replace(state, notice=event), event.what, event.seconds, now)
    if state.notice is not None:
        return replace(state, notice=event), ()
    text = f"{event.what}: this machine is going away, so nothing is started while the notice stands"
    return replace(state, notice=event), (Say("waiting", text),)


def _stop_while_restoring(state: State, event: StopRequested, now: float) -> Step:
    return _give_up_restoring(replace(state, stops=state.stops + 1), event.what, None, now)


def _give_up_restoring(state: State, what: str, seconds: float | None, now: float) -> Step:
    """Before the first start there is nothing to store; before a restart there may be."""
    if not state.leased:
        return _end(state, Exit.STOPPED, Say("stopping", f"{what} before the training was started"))
    return _flush_before(state, what, seconds, now)


def _flush_before(state: State, what: str, seconds: float | None, now: float) -> Step:
    window = _window(state, seconds)
    state = replace(state, stopping=what, deadline=now + window, retry_at=None)
    return _after(Say("stopping", what), _flush(state, Outcome.STOPPED))


def _notice(state: State, event: NoticeStands, now: float) -> Step:
    return _drain(replace(state, notice=event), event.what, event.seconds, now)


def _stop(state: State, event: StopRequested, now: float) -> Step:
    return _drain(replace(state, stops=state.stops + 1), event.what, None, now)


def _drain(state: State, reason: str, seconds: float | None, now: float) -> Step:
    window = _window(state, seconds)
    state = replace(
        state,
        phase=Phase.DRAINING,
        stopping=None if state.finished else reason,
        deadline=now + window,
        term_at=now + ask_time(window),
        kill_at=None,
        stalled=False,  # a drain has deadlines of its own
    )
    said = Say("stopping", f"{reason}: draining, {window:.0f} s are left")
    if state.training:
        return state, (said, AskStop(reason))
    return replace(state, term_at=None, kill_at=now + ask_time(window)), (said, Terminate())


def _window(state: State, seconds: float | None) -> float:
    """How long a stop may take: a machine that should be gone already is used for as long as it is still there."""
    return state.rules.drain_time if seconds is None else min(state.rules.drain_time, max(LEAST_WINDOW, seconds))


def _notice_while_draining(state: State, event: NoticeStands, now: float) -> Step:
    return _shorten(replace(state, notice=event), event.seconds, now), ()


def _shorten(state: State, seconds: float | None, now: float) -> State:
    """An earlier end replaces a later one; a later one changes nothing."""
    if seconds is None or state.deadline is None or now + seconds >= state.deadline:
        return state
    window = max(LEAST_WINDOW, seconds)
    hurry = now + ask_time(window)
    return replace(
        state,
        deadline=min(state.deadline, now + window),
        term_at=None if state.term_at is None else min(state.term_at, hurry),
        kill_at=None if state.kill_at is None else min(state.kill_at, hurry),
    )


def _hurry(state: State, event: StopRequested, now: float) -> Step:
    """The second stop gives up waiting for the child, the third gives up everything."""
    state = replace(state, stops=state.stops + 1)
    if state.stops >= 3:
        return _abandon(state, f"{event.what}, for the third time")
    if state.stops == 2:
        state = replace(state, term_at=None, kill_at=None)
        return state, (Say("hurrying", f"{event.what} again: not waiting for the command any longer", True), Kill())
    return state, ()


def _stop_while_flushing(state: State, event: StopRequested, now: float) -> Step:
    state = replace(state, stops=state.stops + 1)
    if state.stops >= 3:
        return _abandon(state, f"{event.what}, for the third time")
    if state.deadline is None:
        state = replace(state, deadline=now + state.rules.drain_time)
    return state, (Say("stopping", f"{event.what}: {max(0.0, (state.deadline or now) - now):.0f} s are left to store"),)


def _notice_while_flushing(state: State, event: NoticeStands, now: float) -> Step:
    state = replace(state, notice=event)
    if state.deadline is None:
        return replace(state, deadline=now + _window(state, event.seconds)), (Say("stopping", event.what),)
    return _shorten(state, event.seconds, now), ()


def _stop_in_backoff(state: State, event: StopRequested, now: float) -> Step:
    return _flush_before(replace(state, stops=state.stops + 1), event.what, None, now)


def _notice_in_backoff(state: State, event: NoticeStands, now: float) -> Step:
    return _flush_before(replace(state, notice=event), event.what, event.seconds, now)


def _rebalance(state: State, event: RebalanceRecommended, now: float) -> Step:
    what = "rebalance recommendation"
    if state.rules.rebalance == "ignore":
        return state, (Say("rebalance", f"{what}: ignored"),)
    if state.rules.rebalance == "drain":
        return _drain(state, what, None, now)
    if not state.training:
        return state, (Say("rebalance", f"{what}: there is nothing to save now"),)
    return state, (Say("rebalance", f"{what}: saving now and going on"), AskSave("rebalance"))


# --- rules: the child ----------------------------------------------------------------------------------------------


def _ready(state: State, event: Ready, now: float) -> Step:
    return _start(replace(state, bringing=True, trained=state.trained or event.pairs))


def _start(state: State) -> Step:
    state = replace(
        state,
        phase=Phase.STARTING,
        leased=True,
        save_failed=False,
        spawned=False,
        training=False,
        moved=False,
        stalled=False,
    )
    return state, (Spawn(),)


def _restored(state: State, event: Restored, now: float) -> Step:
    if event.complete:
        return _end(state, Exit.COMPLETE, Say("complete", "the run is complete; nothing to do (--extend reopens it)"))
    if event.over:  # what an earlier start left is stored within a drain's time
        return _flush_before(replace(state, leased=True), event.over, None, now)
    return _start(_brought(state, event, now)[0])


def _brought(state: State, event: Restored, now: float) -> Step:
    return replace(
        state,
        bringing=False,
        saved_step=max(state.saved_step, event.step),
        trained=state.trained or event.checkpoint is not None,
        resumed=event.checkpoint,
        deaths=state.deaths if event.checkpoint == state.resumed else 0,
    ), ()


def _restore_failed(state: State, event: RestoreFailed, now: float) -> Step:
    """What an earlier start left here, or the training stored here before a restart, is still owed."""
    said, state = _not_brought(state, event)
    return _after(said, _flush(state, Outcome.FAILED)) if state.leased else _end(state, event.code, said)


def _restore_failed_beside_command(state: State, event: RestoreFailed, now: float) -> Step:
    said, state = _not_brought(state, event)
    return state, (said, Kill())


def _not_brought(state: State, event: RestoreFailed) -> tuple[Say, State]:
    said = Say("failed", event.error, warning=event.code is not Exit.STOPPED)
    return said, replace(state, bringing=False, fault=event.code, retry_at=None)


def _spawned(state: State, event: Spawned, now: float) -> Step:
    return replace(state, spawned=True), ()


def _began(state: State, event: TrainingBegan, now: float) -> Step:
    return replace(state, phase=Phase.RUNNING, training=True, finished=False), ()


def _began_while_draining(state: State, event: TrainingBegan, now: float) -> Step:
    """The request to stop came before there was a training loop to hear it."""
    reason = state.stopping or "stop"
    return replace(state, training=True, finished=False, stopping=reason), (AskStop(reason),)


def _refused(state: State, event: CheckpointRefused, now: float) -> Step:
    return replace(state, refused=True), (Say("failed", event.error, warning=True),)


def _unusable(state: State, event: PairUnusable, now: float) -> Step:
    said = Say("passed-over", f"{event.name}: passed over: {event.error}", warning=True)
    return replace(state, unusable=True, saved_step=0, avoid=state.avoid | {event.name}), (said,)


def _finished(state: State, event: TrainingFinished, now: float) -> Step:
    return replace(state, training=False, finished=True), ()


def _finished_while_draining(state: State, event: TrainingFinished, now: float) -> Step:
    """It ended before it heard the request: the tail that follows is ended, and will run again."""
    state = replace(state, training=False, term_at=None, kill_at=now + state.rules.term_time)
    return state, (Terminate(),)


def _progressed(state: State, event: Progressed, now: float) -> Step:
    """Batches that were done before, and are done again after a crash, are no progress."""
    state = replace(state, trained=True, moved=True, deaths=0)
    if state.stalled:  # it only slept, or was woken: it need not be ended
        state = replace(state, stalled=False, kill_at=None)
    if event.step <= state.step:
        return state, ()
    return replace(state, step=event.step, failures=0), ()


def _saved(state: State, event: PairSaved, now: float) -> Step:
    if state.outcome is Outcome.FENCED or state.scanned:  # the scan of the spool has the last word
        return state, ()
    name = CheckpointName.parse(event.name)
    saved_step = max(state.saved_step, name.step if name else 0)
    state = replace(state, owed=state.owed | {event.name}, saved_step=saved_step, save_failed=False)
    return state, (Upload(event.name),)


def _save_failed(state: State, event: SaveFailed, now: float) -> Step:
    return replace(state, save_failed=True), ()


def _stored(state: State, event: PairStored, now: float) -> Step:
    newest = max(state.newest_stored, _order(event.name))
    lost = None if state.lost is not None and newest > state.lost else state.lost
    return _when_stored(replace(state, owed=state.owed - {event.name}, newest_stored=newest, lost=lost))


def _lost(state: State, event: PairLost, now: float) -> Step:
    """A pair older than one that is stored is no loss."""
    order = _order(event.name)
    lost = state.lost if order < state.newest_stored else max(order, state.lost or order)
    state, effects = _when_stored(replace(state, owed=state.owed - {event.name}, lost=lost))
    return state, (Say("pair-lost", f"{event.name} cannot be stored: {event.error}", warning=True), *effects)


def _skipped(state: State, event: PairSkipped, now: float) -> Step:
    return _when_stored(replace(state, owed=state.owed - {event.name}))


def _left(state: State, event: PairLeft, now: float) -> Step:
    state, effects = _when_stored(replace(state, owed=state.owed - {event.name}, left=True))
    text = f"{event.name}: there is no time to store it; it stays in the work dir"
    return state, (Say("left-behind", text, warning=True), *effects)


def _order(name: str) -> tuple[int, int]:
    parsed = CheckpointName.parse(name)
    return parsed.order if parsed is not None else (0, 0)


def _when_stored(state: State) -> Step:
    if state.scanned and not state.owed and not state.finalizing:
        return _finalize(state)
    return state, ()


def _stalled(state: State, event: Stalled, now: float) -> Step:
    """One that is not gone after a kill, for it is stuck in a broken disk, is told and killed again and again."""
    if state.kill_at is not None or state.bringing:  # then it waits for its pair
        return state, ()
    text = f"no batch, no CPU and no data for {event.seconds:.0f} s: the command hangs"
    state = replace(state, stalled=True, kill_at=now + state.rules.dump_time)
    return state, (Say("stalled", text, warning=True), DumpStacks())


def _exited(state: State, event: ChildExited, now: float) -> Step:
    event = replace(event, how="it hung") if state.stalled else event
    state = replace(state, training=False, spawned=False, term_at=None, kill_at=None)
    if state.fault is not None:
        return _flush(state, Outcome.FAILED)
    if event.code == 0:
        return _flush(state, Outcome.COMPLETE)
    if event.code == Exit.STOPPED:
        said = Say("stopping", "the command was asked to stop by somebody else, and did")
        return _after(said, _flush(replace(state, deadline=now + state.rules.drain_time), Outcome.STOPPED))
    if state.unusable:  # no failure: there is one pair less to try
        state = replace(state, phase=Phase.RESTORING, restore_asked=True, unusable=False, finished=False)
        return state, (Restore(state.avoid),)
    if not state.trained and not state.stalled:  # a hang may well be the network's, and not the script's
        said = Say("failed", f"the command failed before its first batch ({_how(event)})", warning=True)
        return _after(said, _flush(state, Outcome.FAILED))
    if state.refused:
        return _flush(state, Outcome.FAILED)
    failures = state.failures + 1
    if failures > state.rules.max_restarts:
        said = Say("failed", f"the command failed {failures} times without progress ({_how(event)})", warning=True)
        return _after(said, _flush(state, Outcome.FAILED))
    wait = state.rules.backoff.delay(failures, event.chance)
    said = Say("crashed", f"the command failed ({_how(event)}); starting it again in {wait:.1f} s", warning=True)
    state = replace(state, phase=Phase.BACKOFF, failures=failures, retry_at=now + wait, finished=False)
    return _after(said, _blame(state))


def _blame(state: State) -> Step:
    """A pair that the command died of a few times, before it trained a single batch, is passed over from now on."""
    if state.resumed is None or state.moved or state.bringing or state.stalled:
        return state, ()
    state = replace(state, deaths=state.deaths + 1)
    if state.deaths < MOST_DEATHS:
        return state, ()
    text = f"{state.resumed}: passed over, the command died of it {state.deaths} times before its first batch"
    assert state.resumed is not None
    return replace(state, avoid=state.avoid | {state.resumed}), (Say("passed-over", text, warning=True),)


def _how(event: ChildExited) -> str:
    return event.how or f"exit {event.code}"


def _exited_while_draining(state: State, event: ChildExited, now: float) -> Step:
    state = replace(state, training=False, spawned=False, term_at=None, kill_at=None)
    if state.outcome is Outcome.FENCED:
        return _end(state, Exit.FENCED)
    if event.code == 0 and state.stopping is None:
        return _flush(state, Outcome.COMPLETE)
    behind = state.trained and not state.finished and state.step > state.saved_step
    if event.code == Exit.UNSTORED or (behind and event.code != Exit.STOPPED):
        said = Say("unstored", f"the command ended ({_how(event)}) without storing its last state", warning=True)
        return _after(said, _flush(replace(state, save_failed=True), Outcome.STOPPED))
    return _flush(state, Outcome.STOPPED)


# --- rules: the end ------------------------------------------------------------------------------------------------


def _flush(state: State, outcome: Outcome) -> Step:
    return replace(state, phase=Phase.FLUSHING, outcome=outcome), (ScanSpool(),)


def _scanned(state: State, event: SpoolScanned, now: float) -> Step:
    new = sorted(event.owed - state.owed)
    state = replace(state, owed=state.owed | event.owed, scanned=True)
    if not state.owed:
        return _finalize(state)
    return state, tuple(Upload(name) for name in new)


def _finalize(state: State) -> Step:
    return replace(state, finalizing=True), (
        Finalize(complete=state.outcome is Outcome.COMPLETE and not _missing(state)),
    )


def _finalized(state: State, event: Finalized, now: float) -> Step:
    return _end(state, _ending(state))


def _missing(state: State) -> bool:
    """Is there a state that should be in the store and will not be? Who only stopped needs the newest alone."""
    if state.save_failed or state.lost is not None:
        return True
    if state.outcome is Outcome.COMPLETE:
        return state.left or bool(state.owed)
    return any(CheckpointName.parse(name) is None or _order(name) > state.newest_stored for name in state.owed)


def _ending(state: State) -> Exit:
    if state.outcome is Outcome.FENCED:
        return Exit.FENCED
    if state.outcome is Outcome.FAILED:
        return state.fault or Exit.FAILED
    if _missing(state):
        return Exit.UNSTORED
    return Exit.COMPLETE if state.outcome is Outcome.COMPLETE else Exit.STOPPED


def _abandon(state: State, why: str) -> Step:
    """Ends at once. What is still owed stays in the work dir."""
    stopped = state.scanned and state.outcome is Outcome.STOPPED
    code = _ending(state) if stopped or state.outcome in (Outcome.FAILED, Outcome.FENCED) else Exit.UNSTORED
    said = Say("abandoned", f"{why}: {count(len(state.owed), 'pair')} not in the store", warning=bool(state.owed))
    return _end(state, code, said, Kill())


def _fenced(state: State, event: LeaseLost, now: float) -> Step:
    said = Say("fenced", f"the lease was taken over by {event.holder}: stopping, nothing more is stored", warning=True)
    state = replace(state, outcome=Outcome.FENCED)
    if state.phase in (Phase.STARTING, Phase.RUNNING, Phase.DRAINING):
        return replace(state, phase=Phase.DRAINING, deadline=None, term_at=None), (
            said,
            DropUploads(),
            Kill(),
        )
    return _end(state, Exit.FENCED, said, DropUploads())


def _end(state: State, code: Exit, *effects: Effect) -> Step:
    phase = Phase.DONE if code in (Exit.COMPLETE, Exit.STOPPED) else Phase.FAILED
    ended = replace(state, phase=phase, exit_code=code, deadline=None, term_at=None, kill_at=None, retry_at=None)
    return ended, (*effects, ExitWith(code))


def _after(said: Say, result: Step) -> Step:
    state, effects = result
    return state, (said, *effects)


# --- rules: time ---------------------------------------------------------------------------------------------------


def _due(at: float | None, now: float) -> bool:
    return at is not None and now >= at


def _tick_while_alive(state: State, event: Tick, now: float) -> Step:
    if not _due(state.kill_at, now):
        return state, ()
    return replace(state, kill_at=None), (Say("killing", "the command hangs: SIGKILL", warning=True), Kill())


def _tick_while_draining(state: State, event: Tick, now: float) -> Step:
    if _due(state.term_at, now):
        said = Say("terminating", "the command did not stop in time: SIGTERM", warning=True)
        return replace(state, term_at=None, kill_at=now + state.rules.term_time), (said, Terminate())
    if _due(state.kill_at, now):
        return replace(state, kill_at=None), (Say("killing", "the command does not end: SIGKILL", warning=True), Kill())
    return _abandon(state, "no time is left") if _due(state.deadline, now) else (state, ())


def _tick_while_flushing(state: State, event: Tick, now: float) -> Step:
    return _abandon(state, "no time is left") if _due(state.deadline, now) else (state, ())


def _tick_in_backoff(state: State, event: Tick, now: float) -> Step:
    if not _due(state.retry_at, now):
        return state, ()
    state = replace(state, phase=Phase.RESTORING, restore_asked=True, retry_at=None)
    return state, () if state.bringing else (Restore(state.avoid),)


_P = Phase
_ALIVE = (_P.STARTING, _P.RUNNING)
TABLE: dict[tuple[Phase, type[Any]], _Rule] = {
    (_P.RESTORING, NoNotice): _clear_before_restore,
    (_P.RESTORING, NoticeStands): _notice_while_restoring,
    (_P.RESTORING, StopRequested): _stop_while_restoring,
    (_P.RESTORING, Ready): _ready,
    (_P.RESTORING, Restored): _restored,
    **{(phase, Restored): _brought for phase in (_P.STARTING, _P.DRAINING, _P.BACKOFF)},
    **{(phase, RestoreFailed): _restore_failed for phase in (_P.RESTORING, _P.BACKOFF)},
    (_P.STARTING, RestoreFailed): _restore_failed_beside_command,
    **{(phase, NoticeStands): _notice for phase in _ALIVE},
    **{(phase, StopRequested): _stop for phase in _ALIVE},
    **{(phase, RebalanceRecommended): _rebalance for phase in _ALIVE},
    **{(phase, TrainingBegan): _began for phase in _ALIVE},
    **{(phase, TrainingFinished): _finished for phase in _ALIVE},
    **{(phase, CheckpointRefused): _refused for phase in (*_ALIVE, _P.DRAINING)},
    **{(phase, PairUnusable): _unusable for phase in (*_ALIVE, _P.DRAINING)},
    **{(phase, ChildExited): _exited for phase in _ALIVE},
    **{(phase, Stalled): _stalled for phase in _ALIVE},
    (_P.DRAINING, Stalled): _stay,
    **{(phase, Spawned): _spawned for phase in (*_ALIVE, _P.DRAINING)},
    **{(phase, Progressed): _progressed for phase in (*_ALIVE, _P.DRAINING)},
    **{(phase, PairSaved): _saved for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    # The child's last words may arrive after its end, and so may the news of its start.
    **{
        (phase, event): _stay
        for phase in (_P.RESTORING, _P.FLUSHING, _P.BACKOFF)
        for event in (Spawned, TrainingBegan, TrainingFinished, CheckpointRefused, PairUnusable, Progressed)
    },
    (_P.DRAINING, NoticeStands): _notice_while_draining,
    (_P.DRAINING, StopRequested): _hurry,
    (_P.DRAINING, TrainingBegan): _began_while_draining,
    (_P.DRAINING, TrainingFinished): _finished_while_draining,
    (_P.DRAINING, ChildExited): _exited_while_draining,
    (_P.DRAINING, Tick): _tick_while_draining,
    (_P.FLUSHING, NoticeStands): _notice_while_flushing,
    (_P.FLUSHING, StopRequested): _stop_while_flushing,
    (_P.FLUSHING, SpoolScanned): _scanned,
    (_P.FLUSHING, Finalized): _finalized,
    (_P.FLUSHING, Tick): _tick_while_flushing,
    (_P.BACKOFF, NoticeStands): _notice_in_backoff,
    (_P.BACKOFF, StopRequested): _stop_in_backoff,
    (_P.BACKOFF, Tick): _tick_in_backoff,
    # What the outside does at any time, with nothing to decide there:
    **{(phase, NoNotice): _forget_notice for phase in Phase if phase not in (_P.RESTORING, _P.DONE, _P.FAILED)},
    **{(phase, RebalanceRecommended): _stay for phase in (_P.RESTORING, _P.DRAINING, _P.FLUSHING, _P.BACKOFF)},
    **{(phase, SaveFailed): _save_failed for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, PairStored): _stored for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, PairSkipped): _skipped for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, PairLeft): _left for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, PairLost): _lost for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, LeaseLost): _fenced for phase in Phase if phase not in (_P.DONE, _P.FAILED)},
    **{(phase, Tick): _tick_while_alive for phase in _ALIVE},
    (_P.RESTORING, Tick): _stay,
    **{(_P.FLUSHING, event): _stay for event in (Ready, Restored, RestoreFailed)},
    (_P.DRAINING, RestoreFailed): _stay,
    # An ended machine only waits for the shell to leave; what still arrives is too late to matter.
    **{(phase, event): _stay for phase in (_P.DONE, _P.FAILED) for event in Event.__args__},
}

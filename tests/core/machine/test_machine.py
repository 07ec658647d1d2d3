from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.core.errors import Exit, IllegalTransition
from holdfast.core.machine.effects import (
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
from holdfast.core.machine.events import (
    CheckpointRefused,
    ChildExited,
    Event,
    Finalized,
    FolderSeen,
    LeaseLost,
    NoNotice,
    NoticeStands,
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
    SpoolScanned,
    Stalled,
    StopRequested,
    Tick,
    TrainingEnded,
    TrainingStarted,
    in_order,
)
from holdfast.core.machine.table import Phase, Rules, State, Step, step
from holdfast.core.policy import Backoff

RULES = Rules(drain_time=100, term_time=5, dump_time=3, max_restarts=2, backoff=Backoff(first=4, factor=2, most=60))
NOTHING: frozenset[str] = frozenset()
STOP = StopRequested("SIGTERM")
NOTICE = NoticeStands("spot notice", 80)
NO_LONGER_OWED = SpoolScanned(NOTHING)
STALLED = Stalled(1800)

START = (NoNotice(), Restored(), Spawned(7))
EARLY = (NoNotice(), Ready(pairs=True), Spawned(7))
TRAIN = (*START, TrainingStarted(), Progressed())
FIRST = "model-0000-00000001-none-i1-q1"
SECOND = "model-0000-00000002-none-i1-q2"
CRASH = (*TRAIN, ChildExited(1))
FLUSH = (*TRAIN, STOP, ChildExited(75))

# Each phase, in every shade that matters to a rule, and how to come there from the start.
WAYS: dict[str, tuple[Phase, tuple[Event, ...]]] = {
    "before the first look": (Phase.RESTORING, ()),
    "waiting while a notice stands": (Phase.RESTORING, (NOTICE,)),
    "restoring": (Phase.RESTORING, (NoNotice(),)),
    "starting": (Phase.STARTING, START),
    "starting while the pair is on its way": (Phase.STARTING, EARLY),
    "training": (Phase.RUNNING, TRAIN),
    "owing a pair": (Phase.RUNNING, (*TRAIN, PairSpooled("p"))),
    "in the script's tail": (Phase.RUNNING, (*TRAIN, TrainingEnded())),
    "hanging at the start": (Phase.STARTING, (*START, STALLED)),
    "hanging": (Phase.RUNNING, (*TRAIN, STALLED)),
    "draining what hangs": (Phase.DRAINING, (*TRAIN, STALLED, STOP)),
    "draining before training": (Phase.DRAINING, (*START, STOP)),
    "draining while the pair is on its way": (Phase.DRAINING, (*EARLY, STOP)),
    "draining": (Phase.DRAINING, (*TRAIN, STOP)),
    "draining the tail": (Phase.DRAINING, (*TRAIN, TrainingEnded(), STOP)),
    "hurrying": (Phase.DRAINING, (*TRAIN, STOP, STOP)),
    "fenced": (Phase.DRAINING, (*TRAIN, LeaseLost("other"))),
    "flushing": (Phase.FLUSHING, FLUSH),
    "flushing a failure": (Phase.FLUSHING, (*START, ChildExited(1))),
    "flushing an owed pair": (Phase.FLUSHING, (*FLUSH, SpoolScanned(frozenset({"p"})))),
    "finalizing": (Phase.FLUSHING, (*FLUSH, NO_LONGER_OWED)),
    "backing off": (Phase.BACKOFF, CRASH),
    "backing off while the pair is on its way": (Phase.BACKOFF, (*EARLY, ChildExited(1))),
    "done": (Phase.DONE, (*FLUSH, NO_LONGER_OWED, Finalized())),
    "failed": (Phase.FAILED, (*START, ChildExited(1), NO_LONGER_OWED, Finalized())),
}
LIVING = {name: way for name, (phase, way) in WAYS.items() if phase not in (Phase.DONE, Phase.FAILED)}
ENDED = [name for name in WAYS if name not in LIVING]

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
    NO_LONGER_OWED,
    NoticeStands("spot notice", 1),
)
# What the supervisor itself asked for is answered in some phases only; anything else may arrive while it lives.
ANSWERED_IN: dict[type[Any], set[Phase]] = {
    Ready: {Phase.RESTORING, Phase.FLUSHING},
    Restored: {Phase.RESTORING, Phase.STARTING, Phase.DRAINING, Phase.FLUSHING, Phase.BACKOFF},
    RestoreFailed: {Phase.RESTORING, Phase.STARTING, Phase.DRAINING, Phase.FLUSHING, Phase.BACKOFF},
    ChildExited: {Phase.STARTING, Phase.RUNNING, Phase.DRAINING},
    Stalled: {Phase.STARTING, Phase.RUNNING, Phase.DRAINING},
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
    effects: tuple[Effect, ...] = ()
    for event in events:
        state, effects = step(state, event, now)
    return state, effects


def acts(effects: Iterable[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Say)]


def way(name: str) -> State:
    return go(*WAYS[name][1])[0]


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


# --- every phase and every event -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WAYS)
def test_every_phase_is_reached_by_events_from_the_start(name: str) -> None:
    assert way(name).phase is WAYS[name][0]


def test_the_ways_and_events_of_these_tests_leave_out_none() -> None:
    assert {phase for phase, _ in WAYS.values()} == set(Phase)
    assert {type(event) for event in EVENTS} == set(Event.__args__)


@pytest.mark.parametrize("event", EVENTS, ids=name_of)
@pytest.mark.parametrize("name", WAYS)
def test_an_event_gives_a_step_where_it_can_happen_and_is_refused_elsewhere(name: str, event: Event) -> None:
    state = way(name)
    if allowed(state, event):
        after, effects = step(state, event, 1.0)
        assert isinstance(after, State)
        assert all(isinstance(effect, Effect) for effect in effects)
        assert after.ended == (after.exit_code is not None)
    else:
        with pytest.raises(IllegalTransition):
            step(state, event, 1.0)
    assert state == way(name)


@pytest.mark.parametrize("event", EVENTS, ids=name_of)
@pytest.mark.parametrize("name", ENDED)
def test_nothing_is_done_after_the_end(name: str, event: Event) -> None:
    assert step(way(name), event, 1000.0) == (way(name), ())


@pytest.mark.parametrize(
    ("code", "events"),
    [
        (Exit.COMPLETE, (NoNotice(), Restored(complete=True))),
        (Exit.COMPLETE, (*TRAIN, TrainingEnded(), ChildExited(0), NO_LONGER_OWED, Finalized())),
        (Exit.FENCED, (*TRAIN, LeaseLost("other"), ChildExited(137))),
        (Exit.FAILED, (*START, ChildExited(1), NO_LONGER_OWED, Finalized())),
        (Exit.UNSTORED, (*TRAIN, STOP, STOP, STOP)),
        (Exit.UNSTORED, (*TRAIN, TrainingEnded(), ChildExited(0), NO_LONGER_OWED, Finalized("no rights"))),
        (Exit.STOPPED, (*FLUSH, NO_LONGER_OWED, Finalized())),
        (Exit.USAGE, (NoNotice(), RestoreFailed("no such bucket", Exit.USAGE))),
    ],
)
def test_every_exit_code_of_the_table_is_reached(code: Exit, events: tuple[Event, ...]) -> None:
    state, effects = go(*events)
    assert state.exit_code is code
    assert effects[-1] == ExitWith(code)
    assert state.phase is (Phase.DONE if code in (Exit.COMPLETE, Exit.STOPPED) else Phase.FAILED)


# --- before the command runs ---------------------------------------------------------------------------------------


def test_while_a_notice_stands_nothing_is_restored() -> None:
    state, effects = go(NOTICE)
    assert (state.phase, acts(effects)) == (Phase.RESTORING, [])
    assert any(isinstance(effect, Say) for effect in effects)


def test_a_notice_that_still_stands_is_not_told_again() -> None:
    assert go(NOTICE, NOTICE)[1] == ()


def test_when_the_notice_is_gone_the_run_is_restored() -> None:
    assert acts(go(NOTICE, NoNotice())[1]) == [Restore()]


def test_the_run_is_restored_once_however_often_no_notice_is_reported() -> None:
    assert go(NoNotice(), NoNotice())[1] == ()


def test_the_command_is_started_when_the_run_is_restored() -> None:
    assert acts(go(NoNotice(), Restored())[1]) == [Spawn()]


def test_a_complete_run_starts_nothing() -> None:
    assert acts(go(NoNotice(), Restored(complete=True))[1]) == [ExitWith(Exit.COMPLETE)]


@pytest.mark.parametrize("before", [(), (NOTICE,), (NoNotice(),)], ids=["unlooked", "waiting", "restoring"])
def test_a_stop_before_the_start_exits_with_75_at_once(before: tuple[Event, ...]) -> None:
    assert acts(go(*before, STOP)[1]) == [ExitWith(Exit.STOPPED)]


def test_a_notice_while_restoring_exits_with_75_at_once() -> None:
    assert acts(go(NoNotice(), NOTICE)[1]) == [ExitWith(Exit.STOPPED)]


def test_a_run_that_is_too_old_stores_what_is_owed_and_starts_nothing() -> None:
    state, effects = go(NoNotice(), PairSpooled(SECOND), Restored(over="older than --max-hours 2"))
    assert acts(effects) == [ScanSpool()]
    assert (state.phase, state.deadline) == (Phase.FLUSHING, RULES.drain_time)
    assert on(state, NO_LONGER_OWED, PairStored(SECOND), Finalized())[0].exit_code is Exit.STOPPED
    assert on(state, NO_LONGER_OWED, Tick(), now=RULES.drain_time)[0].exit_code is Exit.UNSTORED


@pytest.mark.parametrize("code", [Exit.USAGE, Exit.FENCED, Exit.FAILED, Exit.STOPPED])
def test_a_failed_restore_exits_with_its_own_code(code: Exit) -> None:
    assert acts(go(NoNotice(), RestoreFailed("why", code))[1]) == [ExitWith(code)]


def test_what_an_earlier_start_left_here_is_stored_while_a_notice_stands() -> None:
    state, effects = go(FolderSeen(unstored=True), NOTICE)
    assert acts(effects) == [Restore(only_store="spot notice")]
    state, effects = on(state, NOTICE, PairSpooled(FIRST), Restored(over="spot notice"))
    assert (state.phase, acts(effects)) == (Phase.FLUSHING, [ScanSpool()])
    state, effects = on(state, PairStored(FIRST), NO_LONGER_OWED, FolderSeen(unstored=False), Finalized())
    assert effects == (ExitWith(Exit.STOPPED),)


def test_a_stop_before_the_start_stores_what_is_owed() -> None:
    state, effects = go(NoNotice(), PairSpooled(FIRST), STOP)
    assert (state.phase, acts(effects)) == (Phase.FLUSHING, [ScanSpool()])
    state, effects = step(on(state, SpoolScanned(NOTHING))[0], Tick(), 1000.0)
    assert effects[-1] == ExitWith(Exit.UNSTORED)


# --- a command that starts while its pair is on its way --------------------------------------------------------------


def test_the_command_need_not_wait_for_its_pair() -> None:
    assert acts(go(NoNotice(), Ready())[1]) == [Spawn()]
    assert acts(go(*EARLY, Restored(checkpoint=FIRST, step=1))[1]) == []


def test_a_restore_that_fails_beside_the_command_ends_it_and_the_run_with_its_own_code() -> None:
    state, effects = go(*EARLY, RestoreFailed("no room", Exit.USAGE))
    assert acts(effects) == [Kill()]
    state, effects = on(state, ChildExited(137))
    assert acts(effects) == [ScanSpool()]
    assert on(state, NO_LONGER_OWED, Finalized())[0].exit_code is Exit.USAGE


def test_a_command_that_ends_well_beside_a_failed_restore_is_not_complete() -> None:
    state, _ = go(*EARLY, RestoreFailed("none is valid", Exit.FAILED), ChildExited(0), NO_LONGER_OWED, Finalized())
    assert state.exit_code is Exit.FAILED


def test_a_command_that_fails_before_its_pair_is_here_is_started_again_without_a_second_restore() -> None:
    state, effects = go(*EARLY, ChildExited(1))
    assert state.phase is Phase.BACKOFF
    state, effects = step(state, Tick(), 1000.0)
    assert (state.phase, effects) == (Phase.RESTORING, ())
    assert acts(on(state, Restored(checkpoint=FIRST))[1]) == [Spawn()]


def test_a_pair_that_comes_during_the_backoff_is_looked_at_again() -> None:
    state, _ = go(*EARLY, ChildExited(1), Restored(checkpoint=FIRST))
    assert acts(step(state, Tick(), 1000.0)[1]) == [Restore()]


def test_a_pair_that_is_still_on_its_way_is_not_blamed() -> None:
    state, _ = go(*START[:1], Ready(pairs=True), Restored(checkpoint=FIRST), ChildExited(1))
    for _ in range(2):
        state, _ = step(state, Tick(), 1000.0)
        state, _ = on(state, Ready(pairs=True), ChildExited(1), Restored(checkpoint=FIRST))
    assert state.avoid == NOTHING


# --- stops and the drain -------------------------------------------------------------------------------------------


def test_a_training_that_is_stopped_is_asked_then_terminated_then_killed() -> None:
    state, effects = go(*TRAIN, STOP)
    assert acts(effects) == [AskStop("SIGTERM")]
    timeline = []
    while (due := state.next_time()) is not None:
        state, effects = step(state, Tick(), due)
        timeline.append((due, acts(effects)))
    assert timeline == [(60, [Terminate()]), (65, [Kill()]), (100, [Kill(), ExitWith(Exit.UNSTORED)])]


def test_a_tick_before_its_time_does_nothing() -> None:
    state, _ = go(*TRAIN, STOP)
    assert step(state, Tick(), 59.9) == (state, ())


@pytest.mark.parametrize("name", ["starting", "in the script's tail"])
def test_a_command_that_does_not_train_is_terminated_at_once_and_later_killed(name: str) -> None:
    state, effects = step(way(name), STOP, 0.0)
    assert acts(effects) == [Terminate()]
    assert state.next_time() == 60
    assert acts(step(state, Tick(), 60.0)[1]) == [Kill()]


def test_a_training_that_begins_while_draining_is_asked_to_stop() -> None:
    state, effects = go(*START, STOP, TrainingStarted())
    assert (state.phase, acts(effects)) == (Phase.DRAINING, [AskStop("SIGTERM")])


def test_a_notice_drains_within_the_time_it_gives() -> None:
    state, effects = go(*TRAIN, NoticeStands("spot notice", 50))
    assert acts(effects) == [AskStop("spot notice")]
    assert (state.next_time(), state.deadline) == (30, 50)


@pytest.mark.parametrize(
    ("seconds", "window"), [(None, 100), (1000, 100), (100, 100), (30, 30), (10, 10), (3, 10), (0, 10), (-60, 10)]
)
def test_a_drain_takes_what_the_notice_leaves_but_tries_for_ten_seconds(seconds: float | None, window: float) -> None:
    assert go(*TRAIN, NoticeStands("spot notice", seconds))[0].deadline == window


def test_a_drain_never_takes_longer_than_the_settings_allow() -> None:
    state, _ = go(*TRAIN, NoticeStands("spot notice", 0), rules=replace(RULES, drain_time=6))
    assert state.deadline == 6


def test_a_notice_while_draining_brings_everything_forward() -> None:
    state, _ = on(way("draining"), NoticeStands("spot notice", 20), now=10.0)
    assert (state.term_at, state.deadline) == (22, 30)
    state, _ = on(way("draining before training"), NoticeStands("spot notice", 20), now=10.0)
    assert (state.kill_at, state.deadline) == (22, 30)


@pytest.mark.parametrize("seconds", [None, 90, 5000])
def test_a_notice_that_leaves_more_time_than_the_drain_changes_nothing(seconds: float | None) -> None:
    before = way("draining")
    state, _ = on(before, NoticeStands("spot notice", seconds), now=10.0)
    assert replace(state, notice=None) == before


@given(now=st.floats(0, 99), seconds=st.none() | st.floats(-100, 200))
@settings(deadline=None)
def test_a_notice_never_lengthens_a_drain_or_a_flush(now: float, seconds: float | None) -> None:
    for name in ("draining before training", "draining", "flushing", "finalizing"):
        before = way(name)
        after, _ = on(before, NoticeStands("spot notice", seconds), now=now)
        assert after.deadline is not None
        assert before.deadline is not None
        assert after.deadline <= before.deadline


def test_a_notice_that_passed_does_not_end_a_drain() -> None:
    state, effects = go(*TRAIN, NOTICE, NoNotice())
    assert (state.phase, effects) == (Phase.DRAINING, ())


def test_the_first_signal_after_a_notice_still_lets_the_command_save() -> None:
    assert acts(go(*TRAIN, NOTICE, STOP)[1]) == []


def test_a_second_stop_kills_the_child_and_keeps_the_flush() -> None:
    state, effects = go(*TRAIN, PairSpooled("p"), STOP, STOP)
    assert acts(effects) == [Kill()]
    assert state.next_time() == 100
    state, effects = on(state, ChildExited(137))
    assert (state.phase, acts(effects)) == (Phase.FLUSHING, [ScanSpool()])
    assert state.owed == {"p"}


def test_a_third_stop_gives_up_everything() -> None:
    assert acts(go(*TRAIN, STOP, STOP, STOP)[1]) == [Kill(), ExitWith(Exit.UNSTORED)]


def test_a_third_stop_that_arrives_with_the_news_of_the_last_pair_finds_nothing_owed() -> None:
    state, _ = go(*TRAIN, PairSpooled(FIRST), STOP, STOP, ChildExited(75), SpoolScanned(NOTHING))
    for event in in_order([STOP, PairStored(FIRST)]):
        state, effects = on(state, event)
    assert effects[-1] == ExitWith(Exit.STOPPED)


def test_what_arrives_together_keeps_its_order_but_for_stored_pairs() -> None:
    assert in_order([STOP, ChildExited(0), PairStored("a"), NOTICE]) == [PairStored("a"), STOP, ChildExited(0), NOTICE]


def test_stops_are_counted_on_through_drain_and_flush() -> None:
    owing = SpoolScanned(frozenset({"p"}))
    state, effects = go(*FLUSH, owing, STOP)
    assert acts(effects) == []
    assert acts(on(state, STOP)[1]) == [Kill(), ExitWith(Exit.UNSTORED)]


# --- complete or stopped -------------------------------------------------------------------------------------------


def test_a_command_that_ends_well_is_complete_once_all_is_stored() -> None:
    state, effects = go(*TRAIN, TrainingEnded(), ChildExited(0), NO_LONGER_OWED)
    assert effects == (Finalize(complete=True),)
    assert on(state, Finalized())[0].exit_code is Exit.COMPLETE


def test_a_command_that_ends_with_0_among_batches_that_are_not_saved_has_failed() -> None:
    state, effects = go(*TRAIN, ChildExited(0))
    assert (state.phase, acts(effects)) == (Phase.BACKOFF, [])
    state, effects = go(*TRAIN, PairSpooled(FIRST), ChildExited(0))
    assert acts(effects) == [ScanSpool()]


def test_batches_that_a_crash_lost_are_not_missing_at_a_stop_before_the_next_batch() -> None:
    crashed = (*TRAIN, PairSpooled(FIRST), PairStored(FIRST), Progressed(9), ChildExited(1))
    state = step(go(*crashed)[0], Tick(), 1000.0)[0]
    state, _ = on(state, Restored(checkpoint=FIRST, step=1), STOP, ChildExited(143), NO_LONGER_OWED, Finalized())
    assert state.exit_code is Exit.STOPPED


def test_what_was_trained_since_an_older_pair_is_missing_though_a_newer_one_was_saved_once() -> None:
    state, _ = go(*TRAIN, PairSpooled(SECOND), PairStored(SECOND), ChildExited(1))
    state = step(state, Tick(), 1000.0)[0]
    state, _ = on(state, Restored(checkpoint=FIRST, step=1), TrainingStarted(), Progressed(2), STOP, ChildExited(137))
    assert on(state, NO_LONGER_OWED, Finalized())[0].exit_code is Exit.UNSTORED


def test_a_command_that_ends_well_without_training_is_complete() -> None:
    assert go(*START, ChildExited(0), NO_LONGER_OWED, Finalized())[0].exit_code is Exit.COMPLETE


@pytest.mark.parametrize(
    "events",
    [
        (*TRAIN, STOP, ChildExited(0)),
        (*START, STOP, ChildExited(0)),
        (*TRAIN, STOP, TrainingEnded(), ChildExited(0)),
        (*TRAIN, TrainingEnded(), TrainingStarted(), STOP, ChildExited(0)),
        (*TRAIN, TrainingEnded(), STOP, TrainingStarted(), ChildExited(0)),
        (*TRAIN, TrainingEnded(), STOP, ChildExited(143)),
        (*TRAIN, NOTICE, ChildExited(75)),
    ],
)
def test_a_command_that_was_stopped_first_is_not_complete(events: tuple[Event, ...]) -> None:
    state, effects = go(*events[:-1], PairSpooled(FIRST), PairStored(FIRST), events[-1], NO_LONGER_OWED)
    assert effects == (Finalize(complete=False),)
    assert on(state, Finalized())[0].exit_code is Exit.STOPPED


def test_a_command_that_ends_in_the_drain_without_saving_has_not_stored_its_state() -> None:
    state, effects = go(*TRAIN, STOP, ChildExited(137), NO_LONGER_OWED)
    assert effects == (Finalize(complete=False),)
    assert on(state, Finalized())[0].exit_code is Exit.UNSTORED


def test_a_training_that_could_never_save_has_failed_and_need_not_be_tried_again_and_again() -> None:
    never = (*TRAIN, SavingFailed(), TrainingEnded(), ChildExited(0), NO_LONGER_OWED, Finalized())
    assert go(*never)[0].exit_code is Exit.FAILED


def test_a_save_that_failed_is_made_good_by_a_later_one_only() -> None:
    failed = (
        *TRAIN,
        PairSpooled(FIRST),
        PairStored(FIRST),
        SavingFailed(),
        TrainingEnded(),
        ChildExited(0),
        NO_LONGER_OWED,
        Finalized(),
    )
    assert go(*failed)[0].exit_code is Exit.UNSTORED
    later = (*TRAIN, SavingFailed(), PairSpooled(FIRST), PairStored(FIRST), ChildExited(0), NO_LONGER_OWED, Finalized())
    assert go(*later)[0].exit_code is Exit.COMPLETE


def test_a_lost_pair_that_is_older_than_a_stored_one_is_no_loss() -> None:
    second = FIRST.replace("q1", "q2")
    for events in (
        (PairSpooled(FIRST), PairSpooled(second), PairStored(second), PairLost(FIRST, "damaged")),
        (PairSpooled(FIRST), PairLost(FIRST, "damaged"), PairSpooled(second), PairStored(second)),
    ):
        assert (
            go(*TRAIN, *events, TrainingEnded(), ChildExited(0), NO_LONGER_OWED, Finalized())[0].exit_code
            is Exit.COMPLETE
        )


def test_batches_that_are_done_again_are_no_progress() -> None:
    state = go(*START, TrainingStarted(), Progressed(45), ChildExited(1))[0]
    while state.phase is Phase.BACKOFF:
        state = again(state, TrainingStarted(), Progressed(41), Progressed(45))
    assert state.phase is Phase.FLUSHING
    assert state.failures == RULES.max_restarts


def test_a_stop_in_the_tail_of_a_finished_training_leaves_it_complete_if_the_script_still_ends_well() -> None:
    state, effects = go(*TRAIN, TrainingEnded(), STOP, ChildExited(0), NO_LONGER_OWED)
    assert effects == (Finalize(complete=True),)
    assert on(state, Finalized())[0].exit_code is Exit.COMPLETE


def test_training_that_ends_while_it_is_asked_to_stop_has_its_tail_ended() -> None:
    state, effects = on(way("draining"), TrainingEnded(), now=58.0)
    assert acts(effects) == [Terminate()]
    assert state.next_time() == 63
    assert acts(step(state, Tick(), 63.0)[1]) == [Kill()]


def test_a_command_that_stops_by_itself_with_75_is_stopped_and_has_the_drain_time_to_store() -> None:
    state, effects = go(*TRAIN, ChildExited(75))
    assert (acts(effects), state.deadline) == ([ScanSpool()], 100)
    assert on(state, NO_LONGER_OWED, Finalized())[0].exit_code is Exit.STOPPED


def test_a_drain_whose_last_state_could_not_be_written_exits_with_74() -> None:
    assert go(*TRAIN, STOP, ChildExited(74), NO_LONGER_OWED, Finalized())[0].exit_code is Exit.UNSTORED


# --- crashes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [START, (*START, TrainingStarted())], ids=["starting", "before a batch"])
def test_a_crash_before_the_first_batch_ever_is_a_failure(before: tuple[Event, ...]) -> None:
    state, effects = go(*before, ChildExited(1), NO_LONGER_OWED)
    assert effects == (Finalize(complete=False),)
    assert on(state, Finalized())[0].exit_code is Exit.FAILED


def test_a_crash_after_progress_is_restored_and_started_again() -> None:
    state, effects = go(*CRASH)
    assert (state.phase, acts(effects)) == (Phase.BACKOFF, [])
    due = state.next_time()
    assert due is not None
    assert step(state, Tick(), due - 0.1) == (state, ())
    state, effects = step(state, Tick(), due)
    assert (state.phase, acts(effects)) == (Phase.RESTORING, [Restore()])
    state, effects = step(state, Restored(checkpoint=FIRST), due)
    assert (state.phase, acts(effects)) == (Phase.STARTING, [Spawn()])


def test_a_run_with_a_checkpoint_is_started_again_even_if_it_crashes_before_a_batch() -> None:
    assert go(NoNotice(), Restored(checkpoint=FIRST), Spawned(7), ChildExited(1))[0].phase is Phase.BACKOFF


def again(state: State, *events: Event) -> State:
    """From BACKOFF through another start to another crash, with ``events`` in between."""
    due = state.next_time()
    assert due is not None
    return on(state, Tick(), Restored(), Spawned(7), *events, ChildExited(1), now=due)[0]


def test_a_pair_that_the_child_cannot_use_costs_one_start_and_is_no_failure() -> None:
    rules = replace(RULES, max_restarts=0)
    told = PairUnusable(FIRST, "its .h5 is damaged")
    state, effects = go(NoNotice(), Restored(checkpoint=FIRST, step=10**9), Spawned(7), told, rules=rules)
    assert [effect.text for effect in effects if isinstance(effect, Say)] == [
        f"{FIRST}: passed over: its .h5 is damaged"
    ]
    assert state.saved_step == 0, "what that pair claimed to hold is not stored"
    state, effects = on(state, ChildExited(70))
    assert (state.phase, effects) == (Phase.RESTORING, (Restore(frozenset({FIRST})),))
    state, _ = on(state, Restored(checkpoint=SECOND, step=4), Spawned(8), ChildExited(1))
    assert state.phase is Phase.FLUSHING, "a crash after that is one"


def test_a_script_that_cannot_use_its_checkpoint_is_not_started_again() -> None:
    state, _ = go(NoNotice(), Restored(checkpoint=FIRST), CheckpointRefused("another model"), ChildExited(1))
    assert state.phase is Phase.FLUSHING
    assert on(state, SpoolScanned(frozenset()), Finalized())[0].exit_code is Exit.FAILED


def deaths(count: int, *between: Event) -> Step:
    """What comes of a command that dies ``count`` times after it was started from the first pair."""
    state, effects = go(NoNotice(), rules=replace(RULES, max_restarts=10))
    for number in range(count):
        state, effects = on(state, Restored(checkpoint=FIRST), Spawned(7), TrainingStarted(), *between, ChildExited(1))
        if number < count - 1:
            state, _ = step(state, Tick(), 1000.0)
    return state, effects


def test_a_pair_that_the_command_dies_of_three_times_before_its_first_batch_is_passed_over() -> None:
    state, effects = deaths(2)
    assert on(state, Tick(), now=1000.0)[1] == (Restore(),)
    state, effects = deaths(3)
    assert any(isinstance(e, Say) and e.kind == "passed-over" and e.warning and FIRST in e.text for e in effects)
    state, effects = step(state, Tick(), 1000.0)
    assert effects == (Restore(avoid=frozenset({FIRST})),)
    state, _ = on(state, Restored(checkpoint=SECOND), Spawned(7), ChildExited(1), now=1000.0)
    assert step(state, Tick(), 5000.0)[1] == (Restore(avoid=frozenset({FIRST})),)


def test_deaths_after_a_batch_are_not_blamed_on_the_pair() -> None:
    state, _ = deaths(5, Progressed())
    assert step(state, Tick(), 1000.0)[1] == (Restore(),)


def test_deaths_of_different_pairs_are_counted_apart() -> None:
    state, _ = deaths(2)
    state, _ = step(state, Tick(), 1000.0)
    for start, pair in enumerate((SECOND, SECOND, FIRST), 1):
        state, _ = on(state, Restored(checkpoint=pair), Spawned(7), ChildExited(1), now=start * 1000.0)
        state, _ = step(state, Tick(), start * 1000.0 + 100)
    assert state.avoid == frozenset()


def test_too_many_crashes_without_progress_are_a_failure() -> None:
    state = again(again(way("backing off")))
    assert state.phase is Phase.FLUSHING
    assert on(state, NO_LONGER_OWED, Finalized())[0].exit_code is Exit.FAILED


def test_progress_makes_the_crashes_before_it_forgotten() -> None:
    state = way("backing off")
    for batches in range(10, 20):
        state = again(state, TrainingStarted(), Progressed(batches))
    assert state.phase is Phase.BACKOFF


@pytest.mark.parametrize(("chance", "first", "second"), [(0.0, 2, 4), (0.5, 3, 6)])
def test_the_wait_doubles_with_each_crash_in_a_row(chance: float, first: float, second: float) -> None:
    state, _ = go(*TRAIN, ChildExited(1, chance), now=100.0)
    assert state.next_time() == 100 + first
    state, _ = on(state, Tick(), Restored(), ChildExited(1, chance), now=200.0)
    assert state.next_time() == 200 + second


@pytest.mark.parametrize("event", [STOP, NOTICE], ids=name_of)
def test_a_stop_between_two_starts_stores_what_is_owed_and_exits_with_75(event: Event) -> None:
    state = on(way("training"), PairSpooled("p"), ChildExited(1))[0]
    restoring = on(state, Tick(), now=50.0)[0]
    for between in (state, restoring):
        flushing, effects = on(between, event)
        assert (flushing.phase, acts(effects)) == (Phase.FLUSHING, [ScanSpool()])
        assert flushing.deadline == (100 if event is STOP else 80)
        ended, _ = on(flushing, NO_LONGER_OWED, PairStored("p"), Finalized())
        assert ended.exit_code is Exit.STOPPED
        assert on(between, STOP, STOP, STOP)[0].exit_code is Exit.UNSTORED


# --- hangs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["starting", "training", "in the script's tail"])
def test_a_command_that_hangs_writes_its_stacks_is_killed_and_started_again(name: str) -> None:
    state, effects = step(way(name), STALLED, 10.0)
    assert effects == (
        Say("stalled", "no batch, no CPU and no data for 1800 s: the command hangs", warning=True),
        DumpStacks(),
    )
    assert (state.phase, state.next_time()) == (way(name).phase, 13)
    assert step(state, Tick(), 12.9) == (state, ())
    state, effects = step(state, Tick(), 13.0)
    assert acts(effects) == [Kill()]
    state, effects = on(state, ChildExited(137, how="killed by SIGKILL"), now=13.0)
    assert state.phase is Phase.BACKOFF
    assert any(
        isinstance(said, Say) and "the command failed (it hung); starting it again" in said.text for said in effects
    )
    assert acts(step(state, Tick(), 20.0)[1]) == [Restore()]


def test_a_hang_before_the_first_batch_ever_is_no_failure_of_the_script() -> None:
    """A crash there is one. What hangs is as a rule something that the script waits for."""
    state, _ = go(*START, STALLED, ChildExited(137))
    assert state.phase is Phase.BACKOFF
    state, _ = on(state, Tick(), Restored(), Spawned(8), ChildExited(1), now=100.0)
    assert state.phase is Phase.FLUSHING


def test_hangs_without_progress_come_to_an_end_as_crashes_do() -> None:
    state, _ = go(*TRAIN)
    for _ in range(RULES.max_restarts):
        state, _ = on(state, STALLED, ChildExited(137), now=0.0)
        assert state.phase is Phase.BACKOFF
        state, _ = on(state, Tick(), Restored(checkpoint=FIRST), Spawned(8), TrainingStarted(), now=100.0)
    state, effects = on(state, STALLED, ChildExited(137), now=200.0)
    assert (state.phase, acts(effects)) == (Phase.FLUSHING, [ScanSpool()])
    assert isinstance(effects[0], Say)
    assert effects[0].text == "the command failed (it hung) and is not started again"
    assert state.failure == "the command failed again after 2 restarts without progress (it hung)"


@pytest.mark.parametrize(("most", "restarts"), [(1, "1 restart"), (2, "2 restarts")])
def test_a_failure_after_progress_is_not_counted_among_the_restarts_without_it(most: int, restarts: str) -> None:
    state, _ = go(*TRAIN, Progressed(45), ChildExited(1), rules=replace(RULES, max_restarts=most))
    while state.phase is Phase.BACKOFF:
        state = again(state, TrainingStarted())
    assert state.failure == f"the command failed again after {restarts} without progress (exit 1)"


def test_a_command_that_may_not_be_restarted_says_so_and_speaks_of_no_second_failure() -> None:
    state, _ = go(*TRAIN, ChildExited(1), rules=replace(RULES, max_restarts=0))
    assert state.failure == "the command failed (exit 1), and --max-restarts is 0"


def test_a_pair_is_not_blamed_for_hangs() -> None:
    state, _ = go(NoNotice(), Restored(checkpoint=FIRST, step=1), Spawned(7), rules=replace(RULES, max_restarts=9))
    for _ in range(5):
        state, _ = on(state, STALLED, ChildExited(137), now=0.0)
        state, effects = on(state, Tick(), now=100.0)
        assert acts(effects) == [Restore()]
        state, _ = on(state, Restored(checkpoint=FIRST, step=1), Spawned(8))


def test_a_batch_after_all_saves_what_seemed_to_hang() -> None:
    state, _ = on(way("hanging"), Progressed(2), now=1.0)
    assert state.next_time() is None
    assert on(state, TrainingEnded(), ChildExited(0))[0].phase is Phase.FLUSHING
    crashed = on(state, ChildExited(1, how="exit 1"))[1]
    assert isinstance(crashed[0], Say)
    assert "(exit 1)" in crashed[0].text, "it did not die of the hang"


def test_what_ends_well_while_it_seemed_to_hang_has_ended_well() -> None:
    assert acts(on(way("hanging"), TrainingEnded(), ChildExited(0), now=1.0)[1]) == [ScanSpool()]


def test_a_drain_of_what_hangs_keeps_to_the_drains_times() -> None:
    """It may have slept only, and have a state to save."""
    state = way("draining what hangs")
    assert (state.next_time(), state.deadline) == (60, 100)
    assert on(state, Progressed(5), now=1.0)[0].next_time() == 60
    late, _ = on(state, Tick(), now=60.0)
    assert late.next_time() == on(late, Progressed(5), now=61.0)[0].next_time() == 65
    assert on(way("draining"), STALLED, now=1.0) == (way("draining"), ())
    assert on(way("hanging at the start"), STOP)[0].next_time() == 60


def test_the_next_start_is_not_known_to_hang() -> None:
    state, _ = go(*TRAIN, STALLED, ChildExited(137))
    state, _ = on(state, Tick(), Restored(checkpoint=FIRST), Spawned(8), now=100.0)
    assert on(state, Tick(), now=1000.0)[1] == ()
    assert "exit 1" in str(on(state, ChildExited(1, how="exit 1"))[1])


def test_a_hang_that_is_seen_again_while_it_is_being_ended_changes_nothing() -> None:
    """--stall-timeout may be shorter than the time for the stacks."""
    assert on(way("hanging"), STALLED, now=1.0) == (way("hanging"), ())


def test_what_waits_for_its_pair_does_not_hang() -> None:
    early, _ = go(*EARLY)
    assert on(early, STALLED) == (early, ())
    assert acts(on(early, Restored(checkpoint=FIRST), STALLED)[1]) == [DumpStacks()]


def test_what_cannot_be_killed_is_tried_again_when_it_is_seen_to_hang_again() -> None:
    state, _ = on(way("hanging"), Tick(), now=10.0)
    assert state.next_time() is None
    state, effects = on(state, STALLED, now=2000.0)
    assert acts(effects) == [DumpStacks()]
    assert acts(on(state, Tick(), now=2003.0)[1]) == [Kill()]


# --- pairs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(LIVING.keys() - {"fenced", "flushing an owed pair", "finalizing"}))
def test_a_saved_pair_is_brought_to_the_store(name: str) -> None:
    state, effects = step(way(name), PairSpooled("q"), 1.0)
    assert effects == (Upload("q"),)
    assert "q" in state.owed
    assert "q" not in on(state, PairStored("q"))[0].owed


def test_a_flush_brings_the_pairs_whose_news_never_came_and_waits_for_all() -> None:
    state, effects = go(*TRAIN, PairSpooled("p1"), STOP, ChildExited(75), SpoolScanned(frozenset({"p1", "p2", "p3"})))
    assert effects == (Upload("p2"), Upload("p3"))
    for name in ("p3", "p1"):
        state, effects = on(state, PairStored(name))
        assert (state.phase, effects) == (Phase.FLUSHING, ())
    state, effects = on(state, PairStored("p2"))
    assert effects == (Finalize(complete=False),)
    state, effects = on(state, Finalized())
    assert effects == (ExitWith(Exit.STOPPED),)


def test_a_flush_waits_for_the_scan_even_if_nothing_seems_owed() -> None:
    assert go(*TRAIN, PairSpooled("p"), STOP, ChildExited(75), PairStored("p"))[1] == ()


def test_a_flush_that_is_late_exits_with_74() -> None:
    state, _ = go(*FLUSH, SpoolScanned(frozenset({"p"})))
    assert step(state, Tick(), 99.0) == (state, ())
    assert acts(step(state, Tick(), 100.0)[1]) == [Kill(), ExitWith(Exit.UNSTORED)]


def test_a_flush_that_is_late_before_it_knows_what_is_owed_exits_with_74() -> None:
    assert step(way("flushing"), Tick(), 100.0)[0].exit_code is Exit.UNSTORED


def test_a_stopped_run_that_is_late_with_its_logs_alone_has_its_state_stored() -> None:
    assert step(way("finalizing"), Tick(), 100.0)[0].exit_code is Exit.STOPPED


def test_a_complete_run_that_is_late_with_its_mark_is_not_complete() -> None:
    state, _ = go(*TRAIN, TrainingEnded(), ChildExited(0), NO_LONGER_OWED, STOP)
    assert step(state, Tick(), 100.0)[0].exit_code is Exit.UNSTORED


def test_a_run_that_ended_well_waits_for_the_store_without_end_until_it_is_stopped() -> None:
    state, _ = go(*TRAIN, PairSpooled("p"), TrainingEnded(), ChildExited(0), NO_LONGER_OWED)
    assert state.next_time() is None
    assert on(state, STOP)[0].next_time() == 100
    assert on(state, NoticeStands("spot notice", 40))[0].next_time() == 40


@pytest.mark.parametrize("code", [0, 75])
def test_a_lost_pair_exits_with_74_and_never_marks_the_run_complete(code: int) -> None:
    state, effects = go(
        *TRAIN, PairSpooled("p"), TrainingEnded(), ChildExited(code), NO_LONGER_OWED, PairLost("p", "damaged")
    )
    assert acts(effects) == [Finalize(complete=False)]
    assert any(isinstance(effect, Say) and effect.warning for effect in effects)
    assert on(state, Finalized())[0].exit_code is Exit.UNSTORED


def test_a_pair_that_was_lost_long_before_the_end_is_not_forgotten() -> None:
    lost = (PairSpooled("p"), PairLost("p", "damaged"), TrainingEnded(), ChildExited(0), NO_LONGER_OWED, Finalized())
    assert go(*TRAIN, *lost)[0].exit_code is Exit.UNSTORED


def test_a_pair_that_a_newer_one_replaced_holds_up_no_end() -> None:
    owing = (*TRAIN, PairSpooled(FIRST), PairSpooled(SECOND), STOP, ChildExited(75), NO_LONGER_OWED)
    state, effects = go(*owing, PairSkipped(FIRST), PairStored(SECOND))
    assert acts(effects) == [Finalize(complete=False)]
    assert on(state, Finalized())[0].exit_code is Exit.STOPPED


@pytest.mark.parametrize(("code", "exit_code"), [(75, Exit.STOPPED), (0, Exit.UNSTORED)])
def test_older_pairs_that_have_no_time_left_matter_to_a_complete_run_alone(code: int, exit_code: Exit) -> None:
    owing = (*TRAIN, PairSpooled(FIRST), PairSpooled(SECOND), ChildExited(code), NO_LONGER_OWED)
    state, effects = go(*owing, PairStored(SECOND), PairLeftBehind(FIRST))
    assert effects[0] == Say("left-behind", f"{FIRST}: there is no time to store it; it stays in the work dir", True)
    assert acts(effects) == [Finalize(complete=False)]
    assert on(state, Finalized())[0].exit_code is exit_code


@pytest.mark.parametrize(("stored", "exit_code"), [(SECOND, Exit.STOPPED), (FIRST, Exit.UNSTORED)])
def test_a_late_flush_has_stored_the_state_if_the_newest_pair_is_in_the_store(stored: str, exit_code: Exit) -> None:
    owing = (*TRAIN, PairSpooled(FIRST), PairSpooled(SECOND), STOP, ChildExited(75), NO_LONGER_OWED)
    state, _ = go(*owing, PairStored(stored))
    assert step(state, Tick(), 100.0)[0].exit_code is exit_code


def test_a_failed_run_still_stores_its_pairs() -> None:
    state, effects = go(*START, ChildExited(1), SpoolScanned(frozenset({"p"})))
    assert effects == (Upload("p"),)
    assert on(state, PairStored("p"), Finalized())[0].exit_code is Exit.FAILED


# --- rebalance recommendations -------------------------------------------------------------------------------------


def test_a_rebalance_recommendation_saves_a_training_and_lets_it_go_on() -> None:
    state, effects = go(*TRAIN, RebalanceRecommended())
    assert (state.phase, acts(effects)) == (Phase.RUNNING, [AskSave("rebalance")])


@pytest.mark.parametrize("name", ["starting", "in the script's tail"])
def test_a_rebalance_recommendation_does_not_claim_to_save_what_does_not_train(name: str) -> None:
    state, (said,) = step(way(name), RebalanceRecommended(), 1.0)
    assert state == way(name)
    assert isinstance(said, Say)
    assert "saving" not in said.text


def test_a_rebalance_recommendation_can_drain_and_is_no_notice() -> None:
    state, effects = go(*TRAIN, RebalanceRecommended(), rules=replace(RULES, rebalance="drain"))
    assert (state.phase, acts(effects)) == (Phase.DRAINING, [AskStop("rebalance recommendation")])
    assert (state.deadline, state.notice) == (100, None)


def test_a_rebalance_recommendation_can_be_ignored() -> None:
    state, effects = go(*TRAIN, RebalanceRecommended(), rules=replace(RULES, rebalance="ignore"))
    assert (state.phase, acts(effects)) == (Phase.RUNNING, [])


# --- the lease -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIVING)
def test_a_lost_lease_ends_with_69_and_stores_nothing_more(name: str) -> None:
    state, effects = step(way(name), LeaseLost("other"), 1.0)
    assert DropUploads() in effects
    after: list[Effect] = []
    for event in (PairSpooled("q"), PairStored("p"), STOP, TrainingEnded(), PairSpooled("r"), ChildExited(137)):
        state, more = on(state, event, now=2.0)
        after += more
    assert state.exit_code is Exit.FENCED
    assert not any(isinstance(effect, Upload | Finalize | ScanSpool) for effect in (*effects, *after))


@pytest.mark.parametrize("name", ["starting", "training", "draining", "in the script's tail"])
def test_a_lost_lease_kills_the_command_at_once_and_waits_for_its_end(name: str) -> None:
    state, effects = step(way(name), LeaseLost("other"), 1.0)
    assert acts(effects) == [DropUploads(), Kill()]
    assert not state.ended


def test_impatience_after_a_lost_lease_still_exits_with_69() -> None:
    assert go(*TRAIN, LeaseLost("other"), STOP, STOP, STOP)[0].exit_code is Exit.FENCED


# --- a command that does not speak to holdfast -----------------------------------------------------------------------


def test_a_command_that_runs_for_five_minutes_without_a_training_that_speaks_to_holdfast_is_warned_of_once() -> None:
    state = way("starting")
    assert state.next_time() == 300
    assert step(state, Tick(), 299.9) == (state, ())
    state, effects = step(state, Tick(), 300.0)
    (said,) = effects
    assert isinstance(said, Say)
    assert (said.kind, said.warning) == ("no-training", True)
    assert "does the script use holdfast.Resume?" in said.text
    assert (state.phase, state.next_time()) == (Phase.STARTING, None)


@pytest.mark.parametrize(
    "events", [(TrainingStarted(),), (TrainingStarted(), TrainingEnded()), (STOP,), (STALLED, STOP)]
)
def test_a_command_whose_training_began_or_that_is_ended_is_not_warned_of(events: tuple[Event, ...]) -> None:
    state, effects = on(*(way("starting"), *events, Tick()), now=0.0)
    assert (state.next_time() or 0) < 300
    assert "no-training" not in str(effects)


def test_a_command_that_crashed_and_trained_before_is_not_warned_of() -> None:
    state, _ = on(go(*CRASH)[0], Tick(), Restored(), Spawned(8), now=1000.0)
    assert state.next_time() is None


def test_a_command_that_waits_for_its_pair_is_given_as_long_again() -> None:
    state, effects = step(way("starting while the pair is on its way"), Tick(), 300.0)
    assert (effects, state.next_time()) == ((), 600)


# --- late news -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [Spawned(7), TrainingStarted(), TrainingEnded(), Progressed()], ids=name_of)
@pytest.mark.parametrize("name", ["restoring", "flushing", "finalizing", "backing off"])
def test_late_words_of_a_dead_child_change_nothing(name: str, event: Event) -> None:
    assert step(way(name), event, 1.0) == (way(name), ())


@pytest.mark.parametrize("code", [0, 75])
def test_late_news_of_a_pair_that_the_scan_already_covered_does_not_spoil_the_end(code: int) -> None:
    stored = (SpoolScanned(frozenset({"p"})), PairStored("p"))
    state, _ = go(*TRAIN, PairSpooled("older"), TrainingEnded(), ChildExited(code), *stored)
    state, effects = on(state, PairSpooled("p"))
    assert effects == ()
    state, effects = on(state, PairStored("older"))
    assert effects == (Finalize(complete=code == 0),)
    state, effects = on(state, PairSpooled("p"))
    assert effects == ()
    assert on(state, Finalized())[0].exit_code == code


@pytest.mark.parametrize("event", [Restored(), RestoreFailed("cancelled", Exit.STOPPED)], ids=name_of)
def test_the_answer_of_a_restore_that_was_given_up_starts_nothing(event: Event) -> None:
    state, _ = on(way("backing off"), Tick(), STOP, now=50.0)
    assert step(state, event, 51.0) == (state, ())


@pytest.mark.parametrize(
    ("name", "event", "now"),
    [
        ("training", LeaseLost("other"), 0.0),
        ("training", ChildExited(1), 0.0),
        ("starting", ChildExited(1), 0.0),
        ("owing a pair", PairLost("p", "damaged"), 0.0),
        ("draining", STOP, 0.0),
        ("draining", Tick(), 60.0),
        ("draining before training", Tick(), 60.0),
        ("flushing an owed pair", Tick(), 100.0),
        ("restoring", RestoreFailed("no such bucket", Exit.USAGE), 0.0),
    ],
)
def test_what_somebody_may_have_to_act_upon_is_told_as_a_warning(name: str, event: Event, now: float) -> None:
    _, effects = step(way(name), event, now)
    assert [effect.warning for effect in effects if isinstance(effect, Say)] == [True]


# --- everything at once --------------------------------------------------------------------------------------------


def check(before: State, result: Step, now: float) -> State:
    """What holds after every step, whatever came before it."""
    after, effects = result
    ends = [effect.code for effect in effects if isinstance(effect, ExitWith)]
    assert ends == ([after.exit_code] if after.ended and not before.ended else [])
    assert after.ended == (after.exit_code is not None)
    assert not (before.ended and effects)
    for effect in effects:
        if isinstance(effect, Finalize):
            assert not after.owed
            assert not (effect.complete and after.lost)
    ticks_until_still(after, now)
    due = after.next_time()
    if due is not None:
        ticks_until_still(after, max(due, now))
    return after


@pytest.mark.parametrize("most", [4, pytest.param(5, marks=pytest.mark.whole)])
def test_every_state_within_so_many_events_of_the_start_keeps_the_promises(most: int) -> None:
    seen = {(State(rules=RULES), 0.0)}
    edge = set(seen)
    for _ in range(most):
        found = set()
        for state, now in edge:
            for event in (*EVENTS, *VARIANTS):
                later = max(now, state.next_time() or now) if isinstance(event, Tick) else now
                try:
                    result = step(state, event, later)
                except IllegalTransition:
                    continue
                found.add((check(state, result, later), later))
        edge = found - seen
        seen |= found
    assert {state.phase for state, _ in seen} == set(Phase)
    assert {state.exit_code for state, _ in seen} == {None, *Exit} - {Exit.DAMAGED}


@given(st.sampled_from(sorted(LIVING)), st.data())
@settings(deadline=None, max_examples=300)
def test_any_long_history_keeps_the_promises(name: str, data: st.DataObject) -> None:
    state, now = way(name), 0.0
    for _ in range(data.draw(st.integers(0, 40))):
        now += data.draw(st.sampled_from([0.0, 0.0, 1.0, 7.0, 40.0]))
        event = data.draw(st.sampled_from([e for e in (*EVENTS, *VARIANTS) if allowed(state, e)]))
        state = check(state, step(state, event, now), now)
        state = ticks_until_still(state, now)[0]

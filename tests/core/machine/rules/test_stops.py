from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.machine.steps import (
    FIRST,
    LIVING,
    NOTICE,
    RULES,
    acts,
    go,
    on,
    way,
)
from holdfast.core.errors import Exit
from holdfast.core.machine.effects import (
    AskSave,
    AskStop,
    ExitWith,
    Kill,
    Restore,
    Say,
    ScanSpool,
    Terminate,
)
from holdfast.core.machine.events import (
    ChildExited,
    NoNotice,
    NoticeStands,
    PairSpooled,
    PairStored,
    RebalanceRecommended,
    SpoolScanned,
    StopRequested,
    Tick,
    TrainingStarted,
    in_order,
)
from holdfast.core.machine.scenarios import FLUSH, NOTHING, START, STOP, TRAIN
from holdfast.core.machine.table import Phase, State, step

# --- stops and the drain ---------------------------------------------------------------------------------------------


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


def test_a_command_that_does_not_train_is_terminated_at_once_and_later_killed() -> None:
    state, effects = step(way("starting"), STOP, 0.0)
    assert acts(effects) == [Terminate()]
    assert state.next_time() == 60
    assert acts(step(state, Tick(), 60.0)[1]) == [Kill()]


def test_a_script_whose_training_is_over_may_end_by_itself_and_is_terminated_later() -> None:
    state, effects = step(way("in the script's tail"), STOP, 0.0)
    assert (acts(effects), state.next_time()) == ([], 60)
    state, effects = step(state, Tick(), 60.0)
    assert (acts(effects), state.next_time()) == ([Terminate()], 65)


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
    assert replace(state, notices=()) == before


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


# --- rebalance recommendations ---------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", [name for name in LIVING if way(name).phase in (Phase.DRAINING, Phase.FLUSHING)])
def test_a_signal_within_two_seconds_of_another_is_the_same(name: str) -> None:
    """A launcher forwards what the whole process group got: holdfast is sent it twice, or more often."""
    first, _ = step(way(name), STOP, 50.0)
    assert step(first, STOP, 51.9) == (first, ())
    assert step(first, StopRequested("SIGHUP"), 51.9) == (first, ())
    assert step(first, STOP, 52.0)[0].stops == first.stops + 1 or step(first, STOP, 52.0)[0].ended


def test_a_signal_that_comes_again_and_again_counts_every_two_seconds() -> None:
    state = way("training")
    for tenth in range(60):
        state, effects = step(state, STOP, tenth / 10)
        assert Kill() not in effects or tenth in (20, 40)
    assert state.exit_code is Exit.UNSTORED


# --- several sources of notices --------------------------------------------------------------------------------------

_FIRST, _SECOND = NoticeStands("spot notice", 120.0, "aws"), NoticeStands("notice by hand", 60.0, "hand")


def test_nothing_is_started_before_each_source_has_looked() -> None:
    state = State(awaited=frozenset({"aws", "hand"}))
    state, effects = step(state, NoNotice("hand"), 0.0)
    assert acts(effects) == []
    _, effects = step(state, NoNotice("aws"), 0.0)
    assert acts(effects) == [Restore()]


@pytest.mark.parametrize("over", ["aws", "hand"])
def test_one_sources_all_clear_does_not_take_back_anothers_notice(over: str) -> None:
    state, effects = State(), ()
    for event in (_FIRST, _SECOND, NoNotice(over)):
        state, effects = step(state, event, 0.0)
    assert acts(effects) == []
    assert state.notice is not None
    assert state.notice.source != over
    _, effects = step(state, NoNotice(state.notice.source), 0.0)
    assert acts(effects) == [Restore()]


def test_in_a_drain_the_sooner_of_two_notices_counts_and_neither_ends_with_the_others_all_clear() -> None:
    state, _ = go(*TRAIN, _FIRST)
    assert state.deadline == 100
    state, _ = step(state, _SECOND, 0.0)
    assert state.deadline == 60
    state, _ = step(state, NoNotice("aws"), 1.0)
    assert (state.deadline, state.notice) == (60, _SECOND)


def test_a_source_has_one_notice_at_a_time() -> None:
    state = State()
    for seconds in (90.0, 80.0):
        state, _ = step(state, NoticeStands("spot notice", seconds, "aws"), 0.0)
    assert state.notices == (NoticeStands("spot notice", 80.0, "aws"),)

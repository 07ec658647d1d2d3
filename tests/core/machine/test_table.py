"""Every phase and every event, and what holds whatever comes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.machine.steps import (
    ENDED,
    EVENTS,
    FIRST,
    LIVING,
    NO_LONGER_OWED,
    RULES,
    SECOND,
    SITUATIONS,
    VARIANTS,
    allowed,
    go,
    name_of,
    on,
    ticks_until_still,
    way,
)
from holdfast.core.errors import Exit, IllegalTransition
from holdfast.core.machine.effects import (
    Effect,
    ExitWith,
    Finalize,
    Say,
)
from holdfast.core.machine.events import (
    ChildExited,
    Event,
    Finalized,
    LeaseLost,
    NoNotice,
    PairLost,
    PairSpooled,
    PairStored,
    Progressed,
    Restored,
    RestoreFailed,
    Spawned,
    SpoolScanned,
    Tick,
    TrainingEnded,
    TrainingStarted,
)
from holdfast.core.machine.scenarios import FLUSH, START, STOP, TAIL, TRAIN
from holdfast.core.machine.table import Phase, State, Step, step

# --- every phase and every event -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_phase_is_reached_by_events_from_the_start(name: str) -> None:
    assert way(name).phase is SITUATIONS[name].phase


def test_the_situations_and_events_of_these_tests_leave_out_none() -> None:
    assert {one.phase for one in SITUATIONS.values()} == set(Phase)
    assert {type(event) for event in EVENTS} == set(Event.__args__)


@pytest.mark.parametrize("event", EVENTS, ids=name_of)
@pytest.mark.parametrize("name", SITUATIONS)
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
        (Exit.COMPLETE, (*TAIL, ChildExited(0), NO_LONGER_OWED, Finalized())),
        (Exit.FENCED, (*TRAIN, LeaseLost("other"), ChildExited(137))),
        (Exit.FAILED, (*START, ChildExited(1), NO_LONGER_OWED, Finalized())),
        (Exit.UNSTORED, (*TRAIN, STOP, STOP, STOP)),
        (Exit.UNSTORED, (*TAIL, ChildExited(0), NO_LONGER_OWED, Finalized("no rights"))),
        (Exit.STOPPED, (*FLUSH, NO_LONGER_OWED, Finalized())),
        (Exit.USAGE, (NoNotice(), RestoreFailed("no such bucket", Exit.USAGE))),
    ],
)
def test_every_exit_code_of_the_table_is_reached(code: Exit, events: tuple[Event, ...]) -> None:
    state, effects = go(*events)
    assert state.exit_code is code
    assert effects[-1] == ExitWith(code)
    assert state.phase is (Phase.DONE if code in (Exit.COMPLETE, Exit.STOPPED) else Phase.FAILED)


# --- late news -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [Spawned(7), TrainingStarted(), TrainingEnded(), Progressed()], ids=name_of)
@pytest.mark.parametrize("name", ["restoring", "flushing", "finalizing", "backing off"])
def test_late_words_of_a_dead_child_change_nothing(name: str, event: Event) -> None:
    assert step(way(name), event, 1.0) == (way(name), ())


@pytest.mark.parametrize("code", [0, 75])
def test_late_news_of_a_pair_that_the_scan_already_covered_does_not_spoil_the_end(code: int) -> None:
    stored = (SpoolScanned(frozenset({SECOND})), PairStored(SECOND))
    state, _ = go(*TRAIN, PairSpooled(FIRST), TrainingEnded(), ChildExited(code), *stored)
    state, effects = on(state, PairSpooled(SECOND))
    assert effects == ()
    state, effects = on(state, PairStored(FIRST))
    assert effects == (Finalize(complete=code == 0),)
    state, effects = on(state, PairSpooled(SECOND))
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
        ("draining", STOP, 50.0),
        ("draining", Tick(), 60.0),
        ("draining before training", Tick(), 60.0),
        ("flushing an owed pair", Tick(), 100.0),
        ("restoring", RestoreFailed("no such bucket", Exit.USAGE), 0.0),
    ],
)
def test_what_somebody_may_have_to_act_upon_is_told_as_a_warning(name: str, event: Event, now: float) -> None:
    _, effects = step(way(name), event, now)
    assert [effect.warning for effect in effects if isinstance(effect, Say)] == [True]


# --- everything at once ----------------------------------------------------------------------------------------------


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


def test_every_state_within_four_events_of_the_start_keeps_the_promises() -> None:
    seen = {(State(rules=RULES), 0.0)}
    edge = set(seen)
    for _ in range(4):
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

"""Crashes and hangs of the command (rules/command.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.machine.steps import (
    FIRST,
    NO_LONGER_OWED,
    NOTICE,
    RULES,
    SECOND,
    acts,
    again,
    go,
    name_of,
    on,
    way,
)
from holdfast.core.errors import Exit
from holdfast.core.machine.crash_signature import Failure
from holdfast.core.machine.effects import (
    DumpStacks,
    Finalize,
    Kill,
    Restore,
    Say,
    ScanSpool,
    Spawn,
)
from holdfast.core.machine.events import (
    CheckpointRefused,
    ChildExited,
    Event,
    Finalized,
    NoNotice,
    PairSpooled,
    PairStored,
    PairUnusable,
    Progressed,
    Restored,
    Spawned,
    SpoolScanned,
    Tick,
    TrainingEnded,
    TrainingStarted,
)
from holdfast.core.machine.scenarios import EARLY, STALLED, START, STOP, TRAIN
from holdfast.core.machine.state import State
from holdfast.core.machine.table import Phase, Step, step

# --- crashes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [START, (*START, TrainingStarted())], ids=["starting", "before a batch"])
def test_a_crash_before_the_first_batch_ever_is_a_failure(before: tuple[Event, ...]) -> None:
    state, effects = go(*before, ChildExited(1), NO_LONGER_OWED)
    assert effects == (Finalize(complete=False),)
    assert on(state, Finalized())[0].exit_code is Exit.FAILED


def test_a_crash_after_progress_is_restored_and_started_again() -> None:
    state, effects = go(*TRAIN, ChildExited(1))
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


@pytest.mark.parametrize(
    "before", [(Restored(),), (Restored(checkpoint=FIRST),)], ids=["a new run", "a run with a pair"]
)
def test_what_dies_before_its_script_begins_is_no_failure_and_is_replaced_at_once(before: tuple[Event, ...]) -> None:
    rules = replace(RULES, max_restarts=0)
    state, effects = go(NoNotice(), *before, Spawned(7), ChildExited(1, stood_by=True), rules=rules)
    assert (state.phase, acts(effects), state.failures) == (Phase.STARTING, [Spawn()], 0)
    stopped, _ = on(state, Spawned(8), STOP, ChildExited(143, stood_by=True))
    assert stopped.phase is Phase.FLUSHING, "a stop starts nothing"


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


def test_a_restart_says_how_many_there_may_be() -> None:
    state, _ = go(*TRAIN, ChildExited(1))
    due = state.next_time()
    assert due is not None
    _, effects = on(state, Tick(), Restored(), Spawned(7), ChildExited(1), now=due)
    (said,) = (effect for effect in effects if isinstance(effect, Say))
    assert said.text == "the command failed (exit 1); starting it again in 4.0 s (restart 2 of 2 without progress)"


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


# --- hangs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["starting", "training", "in the script's tail"])
def test_a_command_that_hangs_writes_its_stacks_is_killed_and_started_again(name: str) -> None:
    state, effects = step(way(name), STALLED, 10.0)
    assert effects == (
        Say("stalled", "no batch, no CPU and no data for 1800 s: the command hangs", warning=True, seconds=1800.0),
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


# --- failures that would repeat --------------------------------------------------------------------------------------

BUG = Failure("ValueError", "/code/train.py:17", "ValueError: no such folder (train.py, line 17)")
OUTAGE = Failure("ConnectionError", "/code/data.py:9", "ConnectionError: refused (data.py, line 9)")


def twice(first: Failure | None, second: Failure | None, *between: Event) -> State:
    state, _ = go(*TRAIN, Progressed(45), ChildExited(1, failure=first))
    due = state.next_time()
    assert due is not None
    restarted = (Tick(), Restored(), Spawned(7), TrainingStarted())
    return on(state, *restarted, *between, ChildExited(1, failure=second), now=due)[0]


def test_the_same_failure_for_a_second_time_without_progress_is_the_last() -> None:
    state = twice(BUG, BUG)
    assert state.phase is Phase.FLUSHING
    assert state.failure == (
        "the command failed twice in the same way without progress: ValueError: no such folder (train.py, line 17)"
    )


def test_why_it_is_not_started_again_is_not_said_in_the_words_of_the_last_line() -> None:
    state, _ = go(*TRAIN, Progressed(45), ChildExited(1, failure=BUG))
    began = (Tick(), Restored(), Spawned(7), TrainingStarted())
    state, effects = on(state, *began, ChildExited(1, failure=BUG), now=state.next_time() or 0.0)
    [text] = [effect.text for effect in effects if isinstance(effect, Say)]
    assert text == f"the command is not started again, as it would fail again: {BUG.text}"


@pytest.mark.parametrize(
    ("first", "second"),
    [(BUG, replace(BUG, place="/code/train.py:30")), (OUTAGE, OUTAGE), (None, BUG), (BUG, None), (None, None)],
)
def test_another_failure_or_one_that_may_pass_is_tried_again(first: Failure | None, second: Failure | None) -> None:
    assert twice(first, second).phase is Phase.BACKOFF


@pytest.mark.parametrize("batch", [45, 46])
def test_an_exit_code_of_0_in_the_middle_repeats_where_it_comes_at_the_same_batch(batch: int) -> None:
    """An exception that the script swallows, say: nothing more is known of it."""
    state, _ = go(*TRAIN, Progressed(45), ChildExited(0))
    due = state.next_time()
    assert due is not None
    restarted = (Tick(), Restored(), Spawned(7), TrainingStarted(), Progressed(45), Progressed(batch), ChildExited(0))
    state, _ = on(state, *restarted, now=due)
    assert state.phase is (Phase.FLUSHING if batch == 45 else Phase.BACKOFF)


def test_the_same_failure_after_progress_is_tried_again() -> None:
    assert twice(BUG, BUG, Progressed(46)).phase is Phase.BACKOFF


@pytest.mark.parametrize("after", [(), (TrainingEnded(),)], ids=["in the fit", "in the script's tail"])
def test_a_pair_with_nothing_left_to_train_is_not_to_blame(after: tuple[Event, ...]) -> None:
    state, _ = go(NoNotice(), rules=replace(RULES, max_restarts=10))
    for _ in range(5):
        began = TrainingStarted(left=False)
        state, _ = on(state, Restored(checkpoint=FIRST), Spawned(7), began, *after, ChildExited(1))
        state, effects = step(state, Tick(), 1000.0)
        assert effects == (Restore(),)


def test_a_pair_of_a_fit_after_one_that_was_done_is_to_blame() -> None:
    done = (TrainingStarted(left=False), TrainingEnded())
    state, _ = go(NoNotice(), rules=replace(RULES, max_restarts=10))
    for _ in range(3):
        state, _ = on(state, Restored(checkpoint=FIRST), Spawned(7), *done, TrainingStarted(), ChildExited(1))
        state, effects = step(state, Tick(), 1000.0)
    assert effects == (Restore(avoid=frozenset({FIRST})),)

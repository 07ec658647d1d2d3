from __future__ import annotations

from collections.abc import Iterable

import pytest

from core.machine.steps import (
    FIRST,
    LIVING,
    NO_LONGER_OWED,
    NOTICE,
    RULES,
    SECOND,
    acts,
    again,
    go,
    on,
    way,
)
from holdfast.core.errors import Exit
from holdfast.core.machine.crash_signature import Failure
from holdfast.core.machine.effects import (
    DropUploads,
    Effect,
    Finalize,
    Kill,
    Say,
    ScanSpool,
    Terminate,
    Upload,
)
from holdfast.core.machine.events import (
    CheckpointRefused,
    ChildExited,
    Event,
    Finalized,
    LeaseLost,
    NoNotice,
    PairLost,
    PairSpooled,
    PairStored,
    Progressed,
    Ready,
    Restored,
    SavingFailed,
    Spawned,
    StopRequested,
    Tick,
    TrainingConnected,
    TrainingEnded,
    TrainingStarted,
    TrainingUnprotected,
)
from holdfast.core.machine.scenarios import START, STOP, TAIL, TRAIN
from holdfast.core.machine.table import Outcome, Phase, step

# --- complete or stopped ---------------------------------------------------------------------------------------------


def test_a_command_that_ends_well_is_complete_once_all_is_stored() -> None:
    state, effects = go(*TRAIN, PairSpooled(FIRST), PairStored(FIRST), TrainingEnded(), ChildExited(0), NO_LONGER_OWED)
    assert effects == (Finalize(complete=True),)
    assert on(state, Finalized())[0].exit_code is Exit.COMPLETE


@pytest.mark.parametrize(
    "training",
    [
        (),
        (PairSpooled(FIRST),),
        (TrainingEnded(), TrainingStarted(1), PairSpooled(FIRST)),
        (TrainingEnded(), TrainingConnected(), PairSpooled(FIRST)),
        (TrainingStarted(1), TrainingEnded(1), PairSpooled(FIRST)),
    ],
    ids=["unsaved batches", "all saved", "a second fit began", "a second process connected", "only the second is over"],
)
def test_a_command_that_ends_with_0_before_each_training_that_began_is_over_has_failed(
    training: tuple[Event, ...],
) -> None:
    state, effects = go(*TRAIN, *training, ChildExited(0))
    assert (state.phase, acts(effects)) == (Phase.BACKOFF, [])
    (said,) = effects
    assert isinstance(said, Say)
    assert "exit 0 in the middle of its training" in said.text
    assert ("with batches that are not saved" in said.text) == (not training)
    state, _ = on(state, Tick(), Restored(), Spawned(7), TrainingStarted(), now=1000.0)
    assert acts(on(state, TrainingEnded(), ChildExited(0))[1]) == [ScanSpool()], "only what this start began counts"


def test_a_training_that_is_begun_again_after_an_error_and_ends_is_over() -> None:
    state, _ = go(*TRAIN, TrainingStarted(), TrainingEnded(), PairSpooled(FIRST), ChildExited(0))
    assert state.outcome is Outcome.COMPLETE


def test_a_refusal_behind_an_exit_code_of_0_is_a_refusal() -> None:
    state, _ = on(again(way("backing off")), Tick(), Restored(), Spawned(7), TrainingConnected(), now=1000.0)
    state, _ = on(state, CheckpointRefused("the model is another"), ChildExited(0))
    assert state.outcome is Outcome.FAILED


def test_a_stop_of_what_began_after_another_training_was_over_is_not_completion() -> None:
    state, _ = go(*TRAIN, TrainingEnded(), TrainingConnected(), STOP, ChildExited(0))
    assert state.outcome is Outcome.STOPPED
    state, _ = go(*TRAIN, TrainingEnded(), STOP, TrainingConnected(), ChildExited(0))
    assert state.outcome is Outcome.STOPPED


BUG = Failure("ImportError", "/code/train.py:1", "ImportError: no such module (train.py, line 1)")


def why(effects: Iterable[Effect]) -> str:
    (said,) = (effect for effect in effects if isinstance(effect, Say))
    return said.text


def test_an_exception_behind_an_exit_code_of_0_is_a_failure_before_any_training_too() -> None:
    state, effects = go(*START, ChildExited(0, failure=BUG))
    assert state.outcome is Outcome.FAILED
    assert "before its first batch (exit 0 after ImportError: no such module (train.py, line 1)" in why(effects)
    assert "pipefail" in why(effects)


def test_a_module_that_holdfasts_own_python_lacks_is_explained_by_the_environment() -> None:
    lacks = Failure("ModuleNotFoundError", "train.py:1", "ModuleNotFoundError: No module named 'numpy'")
    assert "holdfast's own environment" in why(go(*START, ChildExited(1, failure=lacks, own_python=True))[1])
    for other in (ChildExited(1, failure=lacks), ChildExited(1, failure=BUG, own_python=True)):
        assert "holdfast's own environment" not in why(go(*START, other)[1])


def test_a_start_that_never_comes_to_a_training_that_is_not_over_completes_nothing() -> None:
    resumed = (NoNotice(), Restored(checkpoint=FIRST, step=1, midway=True), Spawned(7))
    state, effects = go(*resumed, ChildExited(0))
    assert state.phase is Phase.BACKOFF
    assert "before a training began" in why(effects)
    assert go(*resumed, TrainingStarted(left=False), TrainingEnded(), ChildExited(0))[0].outcome is Outcome.COMPLETE


def test_a_command_that_ends_before_its_pair_is_here_completes_no_run_that_has_pairs() -> None:
    """Whether the newest is of a training that is over is not known yet. As of ``python train.py; echo done``."""
    begun = (NoNotice(), Ready(pairs=True), Spawned(7), ChildExited(0))
    state, effects = go(*begun)
    assert state.phase is Phase.RESTORING
    assert "before its checkpoint was here" in why(effects)
    for midway, outcome in ((False, Outcome.COMPLETE), (True, None)):
        again = (Restored(checkpoint=FIRST, step=1, midway=midway), Spawned(8), ChildExited(0))
        state, _ = on(go(*begun)[0], *again)
        assert (state.outcome, state.failures) == (outcome, int(midway))
    assert go(*begun, StopRequested("SIGTERM"))[0].outcome is Outcome.STOPPED
    assert go(NoNotice(), Ready(pairs=False), Spawned(7), ChildExited(0))[0].outcome is Outcome.COMPLETE


def test_a_script_that_skips_the_training_that_is_over_is_complete() -> None:
    state, _ = go(NoNotice(), Restored(checkpoint=FIRST, step=1), Spawned(7), ChildExited(0))
    assert state.outcome is Outcome.COMPLETE


def test_a_training_that_ended_before_the_scripts_tail_failed_is_over_at_the_next_start() -> None:
    failed = (*TRAIN, Progressed(9), PairSpooled(FIRST), TrainingEnded(), ChildExited(1))
    state, _ = on(
        go(*failed)[0], Tick(), Restored(checkpoint=FIRST, midway=True), Spawned(7), ChildExited(0), now=1000.0
    )
    assert state.outcome is Outcome.COMPLETE


def test_a_helpers_exception_beside_a_training_that_is_over_does_not_matter() -> None:
    state, _ = go(*TRAIN, PairSpooled(FIRST), TrainingEnded(), ChildExited(0, failure=BUG))
    assert state.outcome is Outcome.COMPLETE


def test_an_exception_of_the_commands_next_script_behind_an_exit_code_of_0_is_a_failure() -> None:
    """As of ``python a.py && python b.py | tee log``: the second one failed before it connected."""
    state, effects = go(*TRAIN, PairSpooled(FIRST), TrainingEnded(), ChildExited(0, failure=BUG, failed_later=True))
    assert state.phase is Phase.BACKOFF
    assert "exit 0 after ImportError: no such module" in why(effects)
    assert "pipefail" in why(effects)


def test_a_command_that_sends_its_work_to_the_background_is_not_complete() -> None:
    state, effects = go(*START, ChildExited(0, left_running=2))
    assert state.outcome is Outcome.FAILED
    (said,) = (effect for effect in effects if isinstance(effect, Say))
    assert "left 2 processes running" in said.text
    assert "setsid --wait" in said.text


def test_a_command_that_trains_without_a_session_is_not_complete() -> None:
    state, effects = go(*START, TrainingUnprotected("nothing of it is saved"))
    assert effects == (Say("unprotected", "nothing of it is saved", warning=True),)
    assert on(state, ChildExited(0), NO_LONGER_OWED, Finalized())[0].exit_code is Exit.FAILED


def test_a_command_that_uses_tensorflow_and_never_reports_a_training_is_not_complete() -> None:
    state, effects = go(*START, ChildExited(0, tensorflow=True))
    assert state.outcome is Outcome.FAILED
    assert "Add holdfast.Resume()" in why(effects)
    assert go(*START, ChildExited(0))[0].outcome is Outcome.COMPLETE, "another command has nothing to save"
    trained = (*TRAIN, PairSpooled(FIRST), TrainingEnded(), ChildExited(0, tensorflow=True))
    assert go(*trained)[0].outcome is Outcome.COMPLETE


def test_what_trains_beside_a_training_that_is_saved_does_not_matter() -> None:
    state, effects = go(*TRAIN, TrainingUnprotected("nothing of it is saved"))
    assert effects == ()
    state, _ = go(*START, TrainingUnprotected("a fit before"), TrainingStarted(), PairSpooled(FIRST), PairStored(FIRST))
    state, _ = on(state, TrainingEnded(), ChildExited(0), NO_LONGER_OWED, Finalized())
    assert state.exit_code is Exit.COMPLETE


def test_a_training_that_never_saved_is_not_complete() -> None:
    state, effects = go(*TRAIN, TrainingEnded(), ChildExited(0), NO_LONGER_OWED)
    assert acts(effects) == [Finalize(complete=False)]
    assert on(state, Finalized())[0].exit_code is Exit.FAILED


def test_a_helper_that_is_left_when_the_training_is_over_does_not_matter() -> None:
    state, _ = go(*TRAIN, PairSpooled(FIRST), TrainingEnded(), ChildExited(0, left_running=1))
    assert state.outcome is Outcome.COMPLETE


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
    over = (TrainingEnded(), ChildExited(0), NO_LONGER_OWED, Finalized())
    failed = (*TRAIN, PairSpooled(FIRST), PairStored(FIRST), SavingFailed(), *over)
    assert go(*failed)[0].exit_code is Exit.UNSTORED
    later = (*TRAIN, SavingFailed(), PairSpooled(FIRST), PairStored(FIRST), *over)
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
    state, effects = go(*TAIL, STOP)
    assert (acts(effects), state.next_time()) == ([], 60)
    state, effects = on(state, ChildExited(0), NO_LONGER_OWED)
    assert effects == (Finalize(complete=True),)
    assert on(state, Finalized())[0].exit_code is Exit.COMPLETE


@pytest.mark.parametrize(
    "after",
    [
        (Tick(), ChildExited(0)),
        (ChildExited(0, signalled=True),),
        (ChildExited(1),),
        (TrainingConnected(), ChildExited(0)),
        (TrainingStarted(1), ChildExited(0)),
        (TrainingStarted(1), TrainingEnded(1), ChildExited(0)),
    ],
    ids=["SIGTERM", "SIGTERM by others", "it fails", "the next fit", "in the next fit", "after the next fit"],
)
def test_a_stop_in_the_tail_is_a_stop_where_the_script_may_not_have_come_to_its_end(after: tuple[Event, ...]) -> None:
    """On SIGTERM its own handler may have ended it with 0, before its next fit."""
    state, _ = go(*TAIL, STOP)
    for event in after:
        state, _ = on(state, event, now=60.0)
    assert on(state, NO_LONGER_OWED, Finalized())[0].exit_code in (Exit.STOPPED, Exit.UNSTORED)


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


# --- the lease -------------------------------------------------------------------------------------------------------


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

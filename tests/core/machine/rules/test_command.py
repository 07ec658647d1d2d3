from __future__ import annotations

import pytest

from core.machine.steps import (
    FIRST,
    NO_LONGER_OWED,
    NOTICE,
    RULES,
    SECOND,
    acts,
    go,
    on,
    way,
)
from holdfast.core.errors import Exit
from holdfast.core.machine.effects import (
    ExitWith,
    Finalize,
    Kill,
    Restore,
    Say,
    ScanSpool,
    Spawn,
)
from holdfast.core.machine.events import (
    ChildExited,
    Event,
    Finalized,
    FolderSeen,
    LeaseLost,
    NoNotice,
    NotImported,
    PairSpooled,
    PairStored,
    Ready,
    Restored,
    RestoreFailed,
    Spawned,
    SpawnFailed,
    SpoolScanned,
    Tick,
    TrainingEnded,
    TrainingStarted,
)
from holdfast.core.machine.scenarios import EARLY, LATE, NOTHING, STALLED, START, STOP, TRAIN
from holdfast.core.machine.table import Phase, step

# --- before the command runs -----------------------------------------------------------------------------------------


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


def test_a_complete_run_is_named_with_the_ways_to_train_all_the_same() -> None:
    ways = "'holdfast new digits' begins another run of that name, --extend continues this one"
    effects = go(NoNotice(), Restored(complete=True, run="00001-digits"))[1]
    assert Say("complete", f"run 00001-digits is complete; nothing to do ({ways})") in effects
    effects = go(NoNotice(), Restored(complete=True, run="00001-digits", otherwise="the command is another"))[1]
    text = f"run 00001-digits is complete, so nothing is trained (the command is another); {ways}"
    assert Say("complete", text, warning=True) in effects


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


def test_a_command_that_loaded_tensorflow_and_not_holdfast_is_warned_of_sooner_and_not_again() -> None:
    state, (said,) = step(way("starting"), NotImported(60.0), 65.0)
    assert isinstance(said, Say)
    assert (said.kind, said.warning) == ("no-training", True)
    assert "TensorFlow was loaded 60 s ago, and nothing in this command has imported holdfast" in said.text
    assert step(state, NotImported(62.0), 67.0) == (state, ())
    assert state.next_time() is None


@pytest.mark.parametrize(
    "events", [(TrainingStarted(),), (TrainingStarted(), TrainingEnded()), (STOP,), (STALLED, STOP)]
)
def test_a_command_whose_training_began_or_that_is_ended_is_not_warned_of(events: tuple[Event, ...]) -> None:
    state, effects = on(*(way("starting"), *events, Tick()), now=0.0)
    assert (state.next_time() or 0) < 300
    assert "no-training" not in str(effects)


def test_a_command_that_crashed_and_trained_before_is_not_warned_of() -> None:
    state, _ = on(go(*TRAIN, ChildExited(1))[0], Tick(), Restored(), Spawned(8), now=1000.0)
    assert state.next_time() is None


def test_a_command_that_waits_for_its_pair_is_given_as_long_again() -> None:
    state, effects = step(way("starting while the pair is on its way"), Tick(), 300.0)
    assert (effects, state.next_time()) == ((), 600)


# --- a command that cannot be started ------------------------------------------------------------------------------


def test_a_command_that_cannot_be_started_now_is_started_again_after_a_while() -> None:
    """The machine may have had no process to give; it is no reason to pass over the pair."""
    state = go(NoNotice(), Restored(checkpoint=FIRST, step=1), now=0.0)[0]
    for wait in (2.0, 4.0):
        state, effects = on(state, SpawnFailed("no process left"))
        assert state.phase is Phase.BACKOFF
        assert state.retry_at == wait
        assert acts(effects) == []
        state, effects = on(state, Tick(), Restored(checkpoint=FIRST, step=1), now=wait)
        assert effects == (Spawn(),)
    assert state.avoid == frozenset()


def test_a_command_that_can_never_be_started_now_ends_as_one_that_keeps_failing() -> None:
    state = go(NoNotice(), Restored())[0]
    for _ in range(RULES.max_restarts):
        state = on(state, SpawnFailed("no process left"))[0]
        state = on(state, Tick(), Restored(), now=LATE)[0]
    state, effects = on(state, SpawnFailed("no process left"))
    assert (state.phase, acts(effects)) == (Phase.FLUSHING, [ScanSpool()])
    state, effects = on(state, NO_LONGER_OWED, Finalized())
    assert effects[-1] == ExitWith(Exit.FAILED)
    assert "no process left" in state.failure


def test_a_command_that_does_not_exist_is_a_wrong_setting_and_what_is_owed_is_stored() -> None:
    """Also where it existed before: what its earlier start saved is stored, and the lease given back."""
    state = on(way("owing a pair"), ChildExited(1))[0]
    state = on(state, Tick(), Restored(), now=LATE)[0]
    state, effects = on(state, SpawnFailed("no such program", for_good=True))
    assert [effect.text for effect in effects if isinstance(effect, Say)] == [
        "the command does not start: no such program; correct it, or its program's rights"
    ]
    assert acts(effects) == [ScanSpool()]
    state, effects = on(state, SpoolScanned(frozenset({SECOND})), PairStored(SECOND))
    assert effects == (Finalize(complete=False),)
    assert on(state, Finalized())[1] == (ExitWith(Exit.USAGE),)


@pytest.mark.parametrize("for_good", [True, False])
@pytest.mark.parametrize(
    ("before", "code"),
    [
        ((STOP,), Exit.STOPPED),
        ((LeaseLost("another"),), Exit.FENCED),
        ((RestoreFailed("gone", Exit.USAGE),), Exit.USAGE),
    ],
    ids=["stop", "fenced", "not restored"],
)
def test_what_came_before_the_command_could_not_be_started_decides(
    before: tuple[Event, ...], code: Exit, for_good: bool
) -> None:
    state, effects = go(NoNotice(), Ready(), *before, SpawnFailed("no process left", for_good))
    if not state.ended:
        state, effects = on(state, NO_LONGER_OWED, Finalized())
    assert effects[-1] == ExitWith(code)

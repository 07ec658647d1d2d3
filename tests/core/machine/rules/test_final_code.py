"""The exit code of a run that was stopped, decided by what is stored and by how old the run is."""

from __future__ import annotations

import pytest

from core.machine.steps import FIRST, NO_LONGER_OWED, NOTICE, acts, go, on
from holdfast.core.errors import Exit
from holdfast.core.machine.effects import AskStop, ExitWith, ScanSpool, Terminate
from holdfast.core.machine.events import (
    ChildExited,
    Event,
    Finalized,
    FolderSeen,
    NoNotice,
    OutOfTime,
    PairSpooled,
    PairStored,
    Restored,
)
from holdfast.core.machine.scenarios import EARLY, FLUSH, START, STOP, TAIL, TRAIN
from holdfast.core.machine.table import Phase

STORED = (ChildExited(75), NO_LONGER_OWED, Finalized())

# --- a state that is on this machine only --------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [STOP, OutOfTime()])
def test_a_stop_before_the_start_ends_with_74_while_a_state_is_on_this_machine_only(stop: Event) -> None:
    state, effects = go(NoNotice(), FolderSeen(unstored=True), stop)
    assert effects[-1] == ExitWith(Exit.UNSTORED)
    assert (state.phase, state.exit_code) == (Phase.FAILED, Exit.UNSTORED)


def test_what_was_seen_last_counts() -> None:
    """An earlier start's pairs may be stored while this one waits."""
    assert go(NoNotice(), FolderSeen(unstored=True), FolderSeen(unstored=False), STOP)[0].exit_code is Exit.STOPPED


def test_what_a_stop_before_the_start_could_not_store_ends_with_74() -> None:
    """It is damaged, say: then it was never owed."""
    state, _ = go(NoNotice(), FolderSeen(unstored=True), PairSpooled(FIRST), STOP, NO_LONGER_OWED, PairStored(FIRST))
    assert on(state, Finalized())[0].exit_code is Exit.UNSTORED
    assert on(state, FolderSeen(unstored=False), Finalized())[0].exit_code is Exit.STOPPED


def test_once_the_command_was_started_its_own_pairs_decide() -> None:
    seen = (NoNotice(), FolderSeen(unstored=True))
    assert go(*seen, *TRAIN[1:], STOP, *STORED)[0].exit_code is Exit.STOPPED


# --- --max-hours ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "asked"),
    [
        (TRAIN, AskStop("--max-hours")),
        (START, Terminate()),
        (EARLY, Terminate()),
        ((*TRAIN, ChildExited(1)), ScanSpool()),
        ((NoNotice(),), ExitWith(Exit.FAILED)),
    ],
    ids=["training", "starting", "early", "backoff", "restoring"],
)
def test_a_run_that_becomes_too_old_is_stopped_as_by_a_signal(before: tuple[Event, ...], asked: object) -> None:
    assert acts(go(*before, OutOfTime())[1]) == [asked]


@pytest.mark.parametrize("stops", [(OutOfTime(),), (STOP, OutOfTime()), (NOTICE, OutOfTime())])
def test_a_run_that_became_too_old_ends_with_70_once_its_state_is_stored(stops: tuple[Event, ...]) -> None:
    """A supervisor of the supervisor starts it again after 75, and not after 70."""
    state, effects = go(*TRAIN, *stops, *STORED)
    assert effects == (ExitWith(Exit.FAILED),)
    assert (state.phase, state.stopped_for_good) == (Phase.FAILED, True)


def test_a_run_that_became_too_old_ends_with_74_while_its_state_is_not_stored() -> None:
    state, _ = go(*TRAIN, PairSpooled(FIRST), OutOfTime(), ChildExited(75), NO_LONGER_OWED)
    assert on(state, OutOfTime(), STOP, STOP)[0].exit_code is Exit.UNSTORED


@pytest.mark.parametrize("before", [(*TRAIN, STOP), FLUSH], ids=["draining", "flushing"])
def test_a_stop_under_way_is_not_hurried_by_the_age(before: tuple[Event, ...]) -> None:
    state, _ = go(*before)
    later, effects = on(state, OutOfTime(), now=1.0)
    assert effects == ()
    assert (later.stops, later.deadline, later.next_time()) == (state.stops, state.deadline, state.next_time())


def test_the_second_stop_after_the_age_hurries() -> None:
    assert go(*TRAIN, OutOfTime(), STOP)[0].stops == 2


def test_a_training_that_completes_as_it_becomes_too_old_is_complete() -> None:
    state, _ = go(*TAIL, ChildExited(0), OutOfTime(), NO_LONGER_OWED, Finalized())
    assert state.exit_code is Exit.COMPLETE
    assert not state.stopped_for_good


def test_a_run_that_is_too_old_at_its_start_ends_with_70_once_what_is_here_is_stored() -> None:
    begun = (NoNotice(), FolderSeen(unstored=True), PairSpooled(FIRST))
    state, _ = go(*begun, Restored(over="older than --max-hours 2", out_of_time=True))
    state, _ = on(state, NO_LONGER_OWED, PairStored(FIRST), FolderSeen(unstored=False), Finalized())
    assert (state.exit_code, state.stopped_for_good) == (Exit.FAILED, True)


def test_a_notice_under_which_only_pairs_were_stored_leaves_the_run_to_be_started_again() -> None:
    state, _ = go(FolderSeen(unstored=True), NOTICE, PairSpooled(FIRST), Restored(over="spot notice"))
    state, _ = on(state, NO_LONGER_OWED, PairStored(FIRST), FolderSeen(unstored=False), Finalized())
    assert (state.exit_code, state.stopped_for_good) == (Exit.STOPPED, False)

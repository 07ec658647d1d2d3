"""Several machines that train together: one of them is lost, or fails."""

from __future__ import annotations

from core.machine.steps import FIRST, NO_LONGER_OWED, RULES, acts, go, on
from holdfast.core.errors import Exit
from holdfast.core.machine.effects import Kill, Restore, ScanSpool
from holdfast.core.machine.events import (
    ChildExited,
    Finalized,
    GangBroken,
    PairSpooled,
    PairStored,
    Progressed,
    Restored,
    RestoreFailed,
    Spawned,
    StopRequested,
    Tick,
    TrainingStarted,
)
from holdfast.core.machine.scenarios import START, TRAIN
from holdfast.core.machine.state import Phase

LOST = "rank 1: its machine is lost (b)"


def test_the_commands_of_a_gang_that_is_broken_are_ended_at_once() -> None:
    state, effects = go(*TRAIN, GangBroken(LOST))
    assert acts(effects) == [Kill()]
    assert state.phase is Phase.RUNNING, "until they have ended"


def test_a_lost_machine_is_no_failure_of_the_command_and_all_begin_again_from_the_newest_checkpoint() -> None:
    state, effects = go(*TRAIN, Progressed(7), GangBroken(LOST), ChildExited(137, lost=LOST))
    assert acts(effects) == [Restore(frozenset())]
    assert (state.phase, state.failures) == (Phase.RESTORING, 0)


def test_a_rank_that_is_lost_again_and_again_at_the_same_batches_is_waited_for_a_little_longer_each_time() -> None:
    """A container whose memory does not suffice, say: it is killed at the same batch each time."""
    again = (Restored(checkpoint=FIRST, step=1), Spawned(7), TrainingStarted(), Progressed(7))
    gone = ChildExited(137, lost=LOST)
    second, effects = go(*TRAIN, Progressed(7), gone, *again, gone)
    assert acts(effects) == []
    assert (second.phase, second.retry_at) == (Phase.BACKOFF, 2.0)
    third, _ = on(second, Tick(), *again, gone, now=2.0)
    assert (third.phase, third.retry_at, third.failures) == (Phase.BACKOFF, 6.0, 0)
    _, effects = on(third, Tick(), *again, Progressed(8), gone, now=6.0)
    assert acts(effects) == [Restore(frozenset())], "a new batch is progress"


def test_a_machine_that_is_lost_again_and_again_before_a_batch_is_done_ends_it() -> None:
    state, _ = go(*START, ChildExited(137, lost=LOST))
    assert (state.phase, state.failures) == (Phase.BACKOFF, 1)


def test_a_gang_that_is_broken_while_it_stops_has_stored_nothing_new() -> None:
    state, _ = go(*TRAIN, Progressed(7), StopRequested("SIGTERM"), ChildExited(137, lost=LOST))
    assert state.save_failed
    assert state.phase is Phase.FLUSHING
    stored, _ = go(*TRAIN, Progressed(7), StopRequested("SIGTERM"), ChildExited(Exit.STOPPED))
    assert not stored.save_failed


def test_a_gang_whose_ranks_do_not_come_back_stores_what_it_has_and_ends_so_that_it_is_started_again() -> None:
    missing = RestoreFailed("rank 1 of 2 did not come within --lease-wait 900 s", Exit.STOPPED)
    lost = (*TRAIN, Progressed(7), PairSpooled(FIRST), GangBroken(LOST), ChildExited(137, lost=LOST), missing)
    state, effects = go(*lost)
    assert acts(effects) == [ScanSpool()]
    assert on(state, NO_LONGER_OWED, PairStored(FIRST), Finalized())[0].exit_code is Exit.STOPPED
    assert on(state, NO_LONGER_OWED, Tick(), now=RULES.drain_time)[0].exit_code is Exit.UNSTORED

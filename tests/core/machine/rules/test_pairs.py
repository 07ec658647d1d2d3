from __future__ import annotations

import pytest

from core.machine.steps import (
    FIRST,
    LIVING,
    NO_LONGER_OWED,
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
    Say,
    Upload,
)
from holdfast.core.machine.events import (
    ChildExited,
    Finalized,
    NoticeStands,
    PairLeftBehind,
    PairLost,
    PairSkipped,
    PairSpooled,
    PairStored,
    SpoolScanned,
    Tick,
    TrainingEnded,
)
from holdfast.core.machine.scenarios import FLUSH, START, STOP, TRAIN
from holdfast.core.machine.table import Phase, step


@pytest.mark.parametrize("name", [name for name in LIVING if name != "fenced" and not way(name).scanned])
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
    owing = (*TRAIN, PairSpooled(FIRST), PairSpooled(SECOND), TrainingEnded(), ChildExited(code), NO_LONGER_OWED)
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

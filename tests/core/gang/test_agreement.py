from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.gang.agreement import Agreement, RankStanding, target


@pytest.mark.parametrize(
    ("standings", "boundary"),
    [
        ([RankStanding(0)], 1),
        ([RankStanding(4, held=True), RankStanding(4, held=True)], 5),
        ([RankStanding(4, held=True), RankStanding(5)], 6),
        ([RankStanding(5, held=True), RankStanding(5)], 6),
        ([RankStanding(0), RankStanding(1), RankStanding(0, held=True)], 2),
    ],
)
def test_all_act_at_the_first_boundary_that_none_has_passed(standings: list[RankStanding], boundary: int) -> None:
    assert target(standings) == boundary


@given(
    done=st.integers(0, 9),
    ahead=st.lists(st.booleans(), min_size=1, max_size=5),
    held=st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_every_rank_in_lock_step_can_still_reach_the_boundary(done: int, ahead: list[bool], held: list[bool]) -> None:
    """A rank may be one boundary ahead of another: no step ends before it has begun on all."""
    standings = [RankStanding(done + one, waits) for one, waits in zip(ahead, held, strict=False)]
    boundary = target(standings)
    for standing in standings:
        assert standing.passed < boundary
        assert boundary - standing.passed <= 2, "and soon"


def test_nothing_is_agreed_before_the_last_rank_has_answered() -> None:
    asked = Agreement(1, 2, "SIGTERM", frozenset({0, 1, 2}))
    first = asked.answered(0, RankStanding(3, held=True)).answered(2, RankStanding(4))
    assert first.target is None
    assert first.missing == (1,)
    assert first.answered(1, RankStanding(3)).target == 5


def test_a_rank_that_was_not_asked_changes_nothing() -> None:
    asked = Agreement(1, 2, "SIGTERM", frozenset({0}))
    assert asked.answered(7, RankStanding(99)) == asked


def test_a_rank_whose_command_ended_is_not_waited_for() -> None:
    asked = Agreement(1, 2, "SIGTERM", frozenset({0, 1})).answered(0, RankStanding(3))
    assert asked.without(1).target == 4
    assert asked.without(0).without(1).target is None, "nobody is left"


@pytest.mark.parametrize(
    ("standings", "save_at"),
    [
        ([RankStanding(4), RankStanding(5, held=True)], 0),
        ([RankStanding(4, owes=7), RankStanding(5, owes=7)], 0),
        ([RankStanding(4, owes=5), RankStanding(5)], 5),
        ([RankStanding(5), RankStanding(4, held=True, owes=5), RankStanding(5)], 5),
    ],
)
def test_a_save_that_was_agreed_on_before_is_done_by_all_or_by_none(
    standings: list[RankStanding], save_at: int
) -> None:
    asked = Agreement(1, 2, "SIGTERM", frozenset(range(len(standings))))
    for rank, standing in enumerate(standings):
        asked = asked.answered(rank, standing)
    assert asked.save_at == save_at

"""Which interruptions strike when, and which rank's machine."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from holdfast.core.errors import HoldfastError
from holdfast.drill.plan import KINDS, plan


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_and_every_rank_is_struck_once_before_any_twice_at_different_batches(seed: int) -> None:
    strikes = plan(100, 4, KINDS, 3, random.Random(seed))
    assert sorted(Counter(strike.kind for strike in strikes).values()) == [1, 1, 2]
    assert sorted(Counter(strike.rank for strike in strikes).values()) == [1, 1, 2]
    steps = [strike.step for strike in strikes]
    assert steps == sorted(set(steps))
    assert all(0 < step < 100 for step in steps)


def test_a_seed_repeats_the_moments_the_kinds_and_the_ranks() -> None:
    assert plan(100, 5, KINDS, 2, random.Random(7)) == plan(100, 5, KINDS, 2, random.Random(7))
    assert len({str(plan(100, 5, KINDS, 2, random.Random(seed))) for seed in range(10)}) == 10


def test_the_number_of_ranks_does_not_change_the_moments_of_a_seed() -> None:
    alone, gang = (plan(100, 5, KINDS, ranks, random.Random(3)) for ranks in (1, 4))
    assert [(one.step, one.kind) for one in alone] == [(one.step, one.kind) for one in gang]
    assert {one.rank for one in alone} == {0}


def test_a_training_of_few_batches_has_no_room_for_many_interruptions() -> None:
    with pytest.raises(HoldfastError, match="no room for 5 interruptions: let the command train for longer"):
        plan(5, 5, KINDS, 2, random.Random(0))

from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.core.gang.lateness import Lateness


def looked(looks: Iterable[tuple[float, Mapping[int, int]]]) -> Lateness:
    lateness = Lateness()
    for now, passed in looks:
        lateness = lateness.seen(passed, now)
    return lateness


def test_who_is_only_seen_late_is_not_late() -> None:
    """Rank 0's count is read at once, a member's is up to a second old: with short steps it always looks behind."""
    lateness = looked((float(second), {0: 20 * second + 20, 1: 20 * second}) for second in range(60))
    assert lateness.behind(59.0) == {1: 0.0}


def test_who_stands_still_behind_the_others_is_late_since_it_was_seen_so() -> None:
    lateness = looked([(0.0, {0: 6, 1: 6, 2: 6}), (1.0, {0: 7, 1: 6, 2: 7}), (20.0, {0: 7, 1: 6, 2: 7})])
    assert lateness.behind(20.0) == {1: 20.0}


def test_a_step_that_takes_long_on_all_makes_nobody_late() -> None:
    """In the second between two signs of life, a member has stood still for the whole step."""
    lateness = looked([(0.0, {0: 6, 1: 6}), (99.0, {0: 6, 1: 6}), (100.0, {0: 7, 1: 6})])
    assert lateness.behind(100.0) == {1: 1.0}


def test_a_rank_that_is_gone_is_not_waited_for() -> None:
    lateness = looked([(0.0, {0: 7, 1: 6}), (9.0, {0: 7}), (10.0, {0: 7, 1: 6})])
    assert lateness.behind(10.0) == {1: 0.0}

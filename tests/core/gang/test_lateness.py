from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.core.gang.lateness import Lateness, Standstill


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


def moved(looks: Iterable[tuple[float, int]]) -> Standstill:
    standstill = Standstill()
    for now, most in looks:
        standstill = standstill.seen(most, now)
    return standstill


def test_a_gang_stands_still_when_no_rank_passes_a_boundary_for_far_longer_than_usual() -> None:
    """A rank whose data hangs has passed as many as the others, which wait for it in their step."""
    quick = moved((float(second), 1 + 20 * second) for second in range(60))
    assert quick.seconds(59.0 + 14.0) == 0.0
    assert quick.seconds(59.0 + 16.0) == 16.0
    slow = moved((30.0 * step, 1 + step) for step in range(60))
    assert slow.seconds(59 * 30.0 + 299.0) == 0.0
    assert slow.seconds(59 * 30.0 + 301.0) == 301.0


def test_a_pause_that_the_gang_got_over_before_is_usual() -> None:
    validated = moved([(0.0, 1), (1.0, 20), (2.0, 40), (62.0, 41), (63.0, 60)])
    assert validated.seconds(63.0 + 100.0) == 0.0
    assert validated.seconds(63.0 + 121.0) == 121.0


def test_before_there_is_a_usual_time_a_minute_is_long() -> None:
    compiles = moved([(0.0, 1)])
    assert (compiles.seconds(59.0), compiles.seconds(61.0)) == (0.0, 61.0)
    assert moved([(0.0, 1), (600.0, 2), (600.5, 3)]).seconds(616.0) == 15.5
    assert moved([(0.0, 0)]).seconds(900.0) == 0.0, "no rank trains yet"


def test_another_start_of_the_command_begins_anew() -> None:
    assert moved([(0.0, 1), (1.0, 20), (2.0, 40), (9.0, 0), (99.0, 1)]).seconds(150.0) == 0.0

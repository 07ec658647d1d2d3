from __future__ import annotations

from collections.abc import Iterable, Mapping

from holdfast.core.machine.events import Event, GangBroken
from holdfast.supervisor.gang.watch import GangWatch, RankSeen


def watched(looks: Iterable[Mapping[int, RankSeen]], stall_timeout: float = 0.0) -> tuple[list[str], list[Event]]:
    """What is said and what is done, with a look a second."""
    said: list[str] = []
    done: list[Event] = []
    watch = GangWatch(stall_timeout, lambda kind, text="", **facts: said.append(text), done.append)
    for second, ranks in enumerate(looks):
        watch.look(ranks, float(second))
    return said, done


def trains(seconds: int) -> list[Mapping[int, RankSeen]]:
    return [{0: RankSeen(20 * second + 1, 0.0), 1: RankSeen(20 * second, 0.0)} for second in range(seconds)]


def hangs(seconds: int) -> list[Mapping[int, RankSeen]]:
    """Rank 1's data; rank 0 waits for it with all of its CPU."""
    return [{0: RankSeen(181, 0.0), 1: RankSeen(181, float(second))} for second in range(seconds)]


def test_a_healthy_gang_is_not_talked_of() -> None:
    assert watched(trains(90), stall_timeout=2.0) == ([], [])


def test_a_rank_whose_data_hangs_is_named_while_the_others_wait_with_all_their_cpu() -> None:
    said, done = watched([*trains(10), *hangs(40)])
    (text,) = said
    assert "no rank has begun a batch for 16 s; without CPU and data for 15 s: rank 1 (a hang, or" in text
    assert done == [], "nobody asked for more"


def test_ranks_that_wait_without_cpu_are_named_together_with_the_one_that_hangs() -> None:
    """Nobody can know which of them it is. What is known of them is of different age."""
    waits = [{0: RankSeen(181, float(second)), 1: RankSeen(181, max(0.0, second - 4.0))} for second in range(40)]
    (text,) = watched([*trains(10), *waits])[0]
    assert "ranks 0, 1 (a hang" in text


def test_with_a_stall_timeout_a_gang_whose_rank_hangs_so_long_is_ended_and_once() -> None:
    _, done = watched([*trains(10), *hangs(40)], stall_timeout=30.0)
    (broken,) = done
    assert isinstance(broken, GangBroken)
    assert "rank 1" in broken.text
    assert "--stall-timeout" in broken.text


def test_a_validation_that_takes_long_is_no_hang_where_all_ranks_work() -> None:
    validates = [{0: RankSeen(181, 0.0), 1: RankSeen(181, 0.0)}] * 200
    assert watched([*trains(10), *validates], stall_timeout=30.0) == ([], [])


def test_a_rank_that_stands_still_behind_the_others_is_named_and_ended_by_the_stall_timeout() -> None:
    behind = [{0: RankSeen(181, 0.0), 1: RankSeen(180, 0.0)}] * 40
    said, done = watched([*trains(10), *behind], stall_timeout=30.0)
    assert "rank 1 is behind the others for 15 s" in said[0]
    assert len(done) == 1

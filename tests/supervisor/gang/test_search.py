from __future__ import annotations

from pathlib import Path

from fakes.clocks import Clock
from fakes.pairs import name_of, save_pair
from fakes.stores import MemoryStore
from holdfast.core.errors import Exit
from holdfast.core.gang.ranks import Rank
from holdfast.core.policy import LeaseTimes
from holdfast.spool import Spool
from holdfast.supervisor.gang.search import Search
from holdfast.supervisor.settings import RunSettings


class Searched:
    """A search of rank 1 for a rank 0 that does not come, and what is said meanwhile."""

    def __init__(self, work_dir: Path) -> None:
        self.clock = Clock()
        self.said: list[str] = []
        times = LeaseTimes(wait=900.0)
        settings = RunSettings("a", work_dir, ("true",), lease=times, rank=Rank(1, 2, "--rank"))
        self.search = Search(settings, MemoryStore(), self._say, self.clock)

    def _say(self, kind: str, text: str = "", **facts: object) -> None:
        self.said.append(text)

    def after(self, seconds: float) -> Exit | None:
        self.clock.now += seconds
        assert self.search.look() is None
        return self.search.code


def test_a_rank_0_that_does_not_come_ends_a_member_so_that_it_is_started_again(tmp_path: Path) -> None:
    """On spot capacity it may take an hour, and nothing is lost: what starts it must not take it for a failure."""
    searched = Searched(tmp_path)
    assert searched.after(899.0) is None
    assert searched.after(1.0) is Exit.STOPPED
    waits, ends = searched.said
    assert "(--ranks 1: to train alone)" in waits
    assert "--lease-wait 15 min is over" in ends


def test_a_member_that_has_the_only_copy_of_a_state_says_so_when_it_gives_up(tmp_path: Path) -> None:
    """It was rank 0 before."""
    save_pair(Spool(tmp_path / "00001-a"), name_of(1))
    searched = Searched(tmp_path)
    assert searched.after(900.0) is Exit.UNSTORED
    assert "on this machine alone" in searched.said[-1]


def test_while_nobody_looks_no_time_is_over(tmp_path: Path) -> None:
    searched = Searched(tmp_path)
    searched.search.pause(3600.0)
    assert searched.after(3600.0) is None

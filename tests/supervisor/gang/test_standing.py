from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.core.gang.agreement import RankStanding
from holdfast.core.gang.messages import ActAt
from holdfast.spool import Spool
from holdfast.spool.gang_board import SAVE, STOP, GangBoard
from holdfast.supervisor.gang.standing import Stand


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "00001-a")


@pytest.fixture
def board(spool: Spool) -> GangBoard:
    return GangBoard(spool.file(GangBoard.FILE))


def test_where_a_command_stands_is_known_once_it_is_asked(spool: Spool, board: GangBoard) -> None:
    stand, board.passed = Stand(spool), 7
    assert stand.ask(1, stand.start) == RankStanding(7)
    board.held = 8
    assert stand.ask(2, stand.start) == RankStanding(7, held=True)
    stand.act_at(ActAt(2, 8, STOP, "why", 0))
    assert (board.request, board.target, board.action) == (2, 8, STOP)


def test_a_question_of_an_earlier_start_is_not_put_to_the_next_one(spool: Spool, board: GangBoard) -> None:
    stand = Stand(spool)
    earlier = stand.start
    stand.clear()
    assert stand.ask(1, earlier) is None
    assert board.request == 0, "nothing holds the command"


def test_a_save_that_is_still_to_be_done_is_told_and_not_waited_for(spool: Spool, board: GangBoard) -> None:
    stand, board.passed = Stand(spool), 4
    stand.ask(1, stand.start)
    stand.act_at(ActAt(1, 5, SAVE, "interval", 0))
    assert stand.ask(2, stand.start) == RankStanding(4, owes=5)
    stand.act_at(ActAt(2, 7, SAVE, "interval", 0))
    board.passed, board.done = 7, 2
    assert stand.ask(3, stand.start) == RankStanding(7)


def test_where_to_act_is_of_the_question_that_was_put_last(spool: Spool, board: GangBoard) -> None:
    stand = Stand(spool)
    stand.ask(1, stand.start)
    stand.clear()
    stand.act_at(ActAt(1, 5, STOP, "why", 0))
    assert board.target == 0, "it is an earlier start's"
    stand.ask(3, stand.start)
    stand.act_at(ActAt(2, 5, SAVE, "why", 0))
    assert board.target == 0
    assert board.request == 3

from __future__ import annotations

import queue
from pathlib import Path

import pytest

from holdfast.core.gang.agreement import RankStanding
from holdfast.spool import Spool
from holdfast.spool.gang_board import SAVE, STOP, GangBoard
from holdfast.supervisor.gang.standing import Stand

from .members import PATIENCE, in_thread, wait_until


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
    stand.act_at(2, 8, STOP)
    assert (board.request, board.target, board.action) == (2, 8, STOP)


def test_a_question_of_an_earlier_start_is_not_put_to_the_next_one(spool: Spool, board: GangBoard) -> None:
    stand = Stand(spool)
    earlier = stand.start
    stand.clear()
    assert stand.ask(1, earlier) is None
    assert board.request == 0, "nothing holds the command"


def test_a_question_that_waits_while_the_command_is_started_again_is_not_put_either(
    spool: Spool, board: GangBoard
) -> None:
    stand = Stand(spool)
    stand.ask(1, stand.start)
    stand.act_at(1, 5, SAVE)
    answers: queue.SimpleQueue[RankStanding | None] = queue.SimpleQueue()
    start = stand.start
    waits = in_thread(lambda: answers.put(stand.ask(2, start)))
    stand.clear()
    assert answers.get(timeout=PATIENCE) is None
    waits.join(PATIENCE)
    assert board.request == 0


def test_where_to_act_is_of_the_question_that_was_put_last(spool: Spool, board: GangBoard) -> None:
    stand = Stand(spool)
    stand.ask(1, stand.start)
    stand.clear()
    stand.act_at(1, 5, STOP)
    assert board.target == 0, "it is an earlier start's"
    stand.ask(3, stand.start)
    stand.act_at(2, 5, SAVE)
    assert board.target == 0
    wait_until(lambda: board.request == 3)

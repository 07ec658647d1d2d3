from __future__ import annotations

from pathlib import Path

from holdfast.spool.gang_board import SAVE, STOP, GangBoard


def test_what_one_process_writes_the_other_one_sees(tmp_path: Path) -> None:
    mine, theirs = GangBoard(tmp_path / "gang"), GangBoard(tmp_path / "gang")
    mine.passed, mine.held = 7, 8
    theirs.ask(1)
    theirs.act_at(9, STOP)
    assert (theirs.passed, theirs.held) == (7, 8)
    assert (mine.request, mine.target, mine.action) == (1, 9, STOP)


def test_a_request_is_open_until_it_is_done_and_a_new_one_has_no_boundary_yet(tmp_path: Path) -> None:
    board = GangBoard(tmp_path / "gang")
    assert board.request == 0
    board.ask(1)
    board.act_at(9, SAVE)
    board.done = 1
    assert board.request == 0
    board.ask(2)
    assert (board.request, board.target) == (2, 0)


def test_a_new_start_finds_nothing_of_the_last_one(tmp_path: Path) -> None:
    board = GangBoard(tmp_path / "gang")
    board.passed, board.done = 7, 3
    board.ask(4)
    board.clear()
    again = GangBoard(tmp_path / "gang")
    assert (again.passed, again.done, again.request) == (0, 0, 0)

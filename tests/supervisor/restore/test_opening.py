from __future__ import annotations

from pathlib import Path

from holdfast.spool import Board, Progress, Spool
from holdfast.supervisor.restore.opening import signs_of_work


def test_a_heartbeat_says_how_far_this_start_came_and_nothing_of_the_one_before_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "00001-digits")
    board = Board(spool.file(Board.FILE))
    board.write(Progress(50, 2, 5, 45))
    sign = signs_of_work(spool, lambda: 1000.1239)
    assert sign() == {"seen": 1000.124}
    board.write(Progress(51, 1, 1, 31))
    board.add_validation(2.5)
    assert sign() == {"seen": 1000.124, "step": 31, "executed": 51, "validated": 2.5}

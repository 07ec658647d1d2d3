"""What the command writes: which of its lines came after a moment."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.supervisor.command.output import Tee


def test_what_was_written_before_a_mark_is_not_after_it_whether_it_was_read_or_not(tmp_path: Path) -> None:
    tee = Tee(tmp_path / "log", None)
    os.write(tee.write_end, b"first\nsecond\n")
    tee.mark()  # nothing is read yet
    tee.start()
    os.write(tee.write_end, b"third\n")
    tee.handed_over()
    tee.finish()
    assert tee.last_lines() == ["first", "second", "third"]
    assert tee.lines_since_mark(10) == ["third"]
    tee.mark()  # all is read, and the pipe closed
    assert tee.lines_since_mark(10) == []


def test_without_a_mark_nothing_is_after_it(tmp_path: Path) -> None:
    tee = Tee(tmp_path / "log", None)
    tee.start()
    os.write(tee.write_end, b"first\n")
    tee.handed_over()
    tee.finish()
    assert tee.lines_since_mark(10) == []

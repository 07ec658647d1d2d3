"""What the command writes: which of its lines came after a moment."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.supervisor.command.output import Tee
from integration.daemons import wait_for


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


def test_what_comes_while_it_waits_is_in_the_log_from_its_begin_on_and_before_what_follows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"of the start before\n")
    tee = Tee(log, None, waits=True)
    tee.start()
    os.write(tee.write_end, b"imports\n")
    wait_for(lambda: tee.last_lines() == ["imports"], "the first line")
    assert log.read_text() == "of the start before\n"
    tee.begin()
    assert log.read_text() == "of the start before\nimports\n"
    os.write(tee.write_end, b"batches\n")
    tee.handed_over()
    tee.finish()
    assert log.read_text() == "of the start before\nimports\nbatches\n"


def test_one_whose_output_has_ended_before_it_began_is_not_in_the_log(tmp_path: Path) -> None:
    tee = Tee(tmp_path / "log", None, waits=True)
    tee.start()
    os.write(tee.write_end, b"imports\n")
    tee.handed_over()
    tee.finish()
    tee.begin()
    assert (tmp_path / "log").read_text() == ""

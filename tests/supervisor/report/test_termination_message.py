from __future__ import annotations

from pathlib import Path

from holdfast.core.errors import Exit
from holdfast.supervisor.report.journal import Journal
from holdfast.supervisor.report.termination_message import LastLine, message_file


def test_the_file_says_how_it_ended_in_the_last_words_that_there_were(tmp_path: Path) -> None:
    line, journal, file = LastLine(), Journal(None), tmp_path / "termination-log"
    file.write_text("an earlier container's")
    journal.listen(line.heard)
    journal.event("stopping", "SIGTERM: draining, 110 s are left")
    journal.event("exit", "stopped; epoch 3 is in the store (exit 75)", code=75)
    line.write(file, Exit.STOPPED)
    assert file.read_text() == "exit 75: stopped; epoch 3 is in the store (exit 75)\n"


def test_without_any_words_the_code_is_explained_and_no_more_is_written_than_kubernetes_keeps(tmp_path: Path) -> None:
    file = tmp_path / "termination-log"
    LastLine().write(file, Exit.COMPLETE)
    assert file.read_text() == "exit 0: training is complete, and all checkpoints and artifacts are in the store\n"
    line = LastLine()
    line.text = "x" * 10_000
    line.write(file, Exit.FAILED)
    assert file.stat().st_size == 4096


def test_a_name_that_is_not_utf_8_does_not_end_the_end(tmp_path: Path) -> None:
    """As Python has it of a file's name, in an error's text."""
    file, line = tmp_path / "termination-log", LastLine()
    line.text = b"--work-dir \xff: not there".decode(errors="surrogateescape")
    line.write(file, Exit.USAGE)
    assert file.read_text() == "exit 78: --work-dir ?: not there\n"


def test_what_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    LastLine().write(tmp_path / "missing" / "file", Exit.FAILED)
    LastLine().write(None, Exit.FAILED)


def test_the_file_is_the_one_that_was_given_or_kubernetes_own() -> None:
    given = Path("given")
    assert message_file({}, given) == given
    assert message_file({}, None) is None

from __future__ import annotations

import pytest
from rich.table import Table

from holdfast.cli.common.show import Column, clean, plain, unwrapped


def test_a_plain_table_cuts_nothing_and_keeps_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    lines = plain(
        [Column("name"), Column("n", right=True), Column("note")], [["x" * 200, "5", ""], ["y", "12", "good"]]
    )
    assert lines == [f"name{' ' * 196}   n  note", f"{'x' * 200}   5  -", f"y{' ' * 199}  12  good"]


def test_in_a_pipe_a_console_wraps_no_line_and_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    text = "many words " * 30
    drawn = Table("a column")
    drawn.add_row(text)
    console = unwrapped()
    console.print(text)
    console.print(drawn)
    assert capsys.readouterr().out.count(text.rstrip()) == 2


def test_control_characters_are_spelled_out() -> None:
    assert clean("a\x1b[2Jb\n\u202e") == "a\\x1b[2Jb\\n\\u202e"
    assert clean("épreuve, 2.3 s…") == "épreuve, 2.3 s…"

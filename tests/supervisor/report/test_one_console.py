from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast.supervisor.report.one_console import OneConsole


def test_a_line_of_ours_never_begins_in_a_line_that_the_script_has_not_ended(tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    with shown.open("wb") as file, os.fdopen(os.dup(file.fileno()), "w") as lines:
        console = OneConsole(file, lines)
        assert console.output is not None
        assert console.lines is not None
        console.lines.write("holdfast: first\n")
        console.output.write(b"\r37/90 [===>  ] loss: 0.5")
        console.lines.write("holdfast: stored\n")
        console.lines.write("holdfast: another\n")
        console.output.write(b"\r38/90 [===>  ] loss: 0.4\n")
        console.lines.write("holdfast: last\n")
    assert shown.read_bytes() == (
        b"holdfast: first\n\r37/90 [===>  ] loss: 0.5\nholdfast: stored\nholdfast: another\n"
        b"\r38/90 [===>  ] loss: 0.4\nholdfast: last\n"
    )


@pytest.mark.parametrize(
    ("drawn", "open_"),
    [
        ([b"\r50%"], True),
        ([b"50%\r"], True),  # the cursor is at the beginning of what is still to be read
        ([b"50%", b"\r"], True),
        ([b"\x1b[2K\r"], True),
        ([b"50%\r\n"], False),
        ([b"done\n"], False),
        ([b""], False),
    ],
)
def test_a_bar_that_returns_to_its_beginning_is_not_written_over(
    tmp_path: Path, drawn: list[bytes], open_: bool
) -> None:
    shown = tmp_path / "shown"
    with shown.open("wb") as file, os.fdopen(os.dup(file.fileno()), "w") as lines:
        console = OneConsole(file, lines)
        assert console.output is not None
        assert console.lines is not None
        for one in drawn:
            console.output.write(one)
        console.lines.write("holdfast: stored\n")
    assert shown.read_bytes() == b"".join(drawn) + (b"\n" if open_ else b"") + b"holdfast: stored\n"


def test_two_files_are_left_alone(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("w") as lines:
        console = OneConsole(out, lines)
        assert (console.output, console.lines) == (out, lines)
        without = OneConsole(None, lines)
        assert (without.output, without.lines) == (None, lines)


def test_a_stream_that_is_closed_is_no_reason_to_fail(tmp_path: Path) -> None:
    out = (tmp_path / "out").open("wb")
    with (tmp_path / "err").open("w") as lines:
        out.close()
        assert OneConsole(out, lines).output is out

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.machine.events import NoticeStands
from holdfast.supervisor.notices.handed import Handed, HandedNotices, boot, notice_file
from holdfast.supervisor.notices.metadata_http import MetadataError

NOW = 1_795_364_226.0


def asked(folder: Path, content: bytes | None) -> NoticeStands | None:
    path = notice_file(folder, "digits")
    if content is not None:
        path.write_bytes(content)
    return HandedNotices(path, lambda: NOW).ask()


def test_what_was_handed_in_stands_with_its_deadline(tmp_path: Path) -> None:
    assert asked(tmp_path, None) is None
    found = asked(tmp_path, Handed("spot terminate", NOW + 120).to_json())
    assert found is not None
    assert (found.what, found.seconds) == ("spot terminate (handed in)", 120.0)
    found = asked(tmp_path, Handed("notice", None).to_json())
    assert found is not None
    assert (found.what, found.seconds) == ("notice (handed in)", None)


@pytest.mark.parametrize(
    ("deadline", "end"),
    [
        (NOW, "2026-11-22 16:27:06 UTC"),
        (1e300, "9999-12-31 23:59:59 UTC"),
        (None, "this machine's next boot"),
    ],
)
def test_it_says_when_it_ends_and_which_command_ends_it(tmp_path: Path, deadline: float | None, end: str) -> None:
    folder = tmp_path / "my runs"
    folder.mkdir()
    found = asked(folder, Handed("notice", deadline).to_json())
    assert found is not None
    assert found.until == f"until {end}, or until you run: holdfast notice --over --work-dir '{folder}'"


def test_a_machine_that_is_there_long_after_the_deadline_stays(tmp_path: Path) -> None:
    assert asked(tmp_path, Handed("notice", NOW - 60).to_json()) is not None
    assert asked(tmp_path, Handed("notice", NOW - 3600).to_json()) is None


def test_a_notice_of_before_the_last_boot_is_over(tmp_path: Path) -> None:
    old = json.loads(Handed("notice", None).to_json()) | {"boot": "another"}
    assert asked(tmp_path, json.dumps(old).encode()) is None


@pytest.mark.parametrize(
    "wrong", [{"kind": 7}, {"kind": ""}, {"kind": "x" * 81}, {"kind": "(x)"}, {"deadline": "soon"}, {"deadline": 1e999}]
)
def test_a_file_that_makes_no_sense_is_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    content = json.dumps({"kind": "notice", "deadline": None, "boot": boot(), **wrong}).encode()
    with pytest.raises(MetadataError, match=r"\.notice-digits\.json is not what holdfast notice writes"):
        asked(tmp_path, content)
    with pytest.raises(MetadataError):
        asked(tmp_path, b"{")

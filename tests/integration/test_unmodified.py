"""Scripts as people have them, with seeds, under ``holdfast drill --auto``: each ends the same, whatever strikes it.

A drill starts TensorFlow five times. So here are several fits, a PyDataset, a console script and a shell of two stages.
Scripts of one plain fit are stopped and started again in one process: tests/training/test_unmodified.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .test_drill import drill
from .unmodified import SCRIPTS, console_script, interpreter_without_holdfast

NAMES = ("fine_tune", "py_dataset", "wine", "stages")
KINDS = ("notice,sigkill", "sigterm,sigkill", "notice,sigterm")  # by turns: each start takes seconds of a core


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> str:
    return interpreter_without_holdfast(tmp_path_factory.mktemp("foreign"))


@pytest.mark.whole
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "kinds"), [(name, KINDS[n % len(KINDS)]) for n, name in enumerate(NAMES)])
def test_an_unmodified_script_ends_the_same_after_two_interruptions(
    name: str, kinds: str, foreign: str, tmp_path: Path
) -> None:
    shutil.copytree(SCRIPTS, tmp_path / "work")
    commands = {"wine": [console_script(foreign), "--epochs", "3"], "stages": ["bash", "two_stages.sh"]}
    command = commands.get(name, [foreign, f"{name}.py"])
    struck = ("--auto", "--interruptions", "2", "--kinds", kinds, "--seed", "3")
    code, report, text = drill(*struck, command=command, folder=tmp_path / "work", PACE="0.03", PYTHON=foreign)
    assert code == 0, text
    assert report["identical"]
    assert len(report["interruptions"]) == 2
    assert all(one["redone"] == 0 for one in report["interruptions"] if one["kind"] != "sigkill")

"""Which interpreters ignore the environment, as their command line says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from holdfast.core.errors import SettingsError
from holdfast.supervisor.command.isolation import check_reachable, ignores_environment, is_own_python


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("python -I train.py", "-I"),
        ("/usr/bin/python3.11 -u -E train.py", "-E"),
        ("python -uS -m train", "-S"),
        ("python -W ignore -I train.py", "-I"),
        ("python -Xdev -Es train.py", "-E"),
        ("python train.py -I", ""),
        ("python -c pass -I", ""),
        ("python -mtrain -E", ""),
        ("python -W E train.py", ""),
        ("python -X I", ""),
        ("python --help-all", ""),
        ("python - -I", ""),
        ("bash -E train.sh", ""),
        ("pythonic -I", ""),
        ("", ""),
    ],
)
def test_the_option_by_which_an_interpreter_ignores_the_environment_is_found(words: str, option: str) -> None:
    assert ignores_environment(words.split()) == option


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("#!/usr/bin/python3 -I", True),
        ("#!/usr/bin/env -S python3 -E", True),
        ("#!/usr/bin/env python3", False),
        ("#!/bin/sh -E", False),
        ("import sys", False),
    ],
)
def test_a_script_whose_first_line_names_such_an_interpreter_is_refused(
    line: str, refused: bool, tmp_path: Path
) -> None:
    script = tmp_path / "train"
    script.write_text(f"{line}\n")
    if not refused:
        check_reachable([str(script)])
        return
    with pytest.raises(SettingsError, match="ignores the environment"):
        check_reachable([str(script)])


def test_a_command_that_is_not_there_is_another_check_s() -> None:
    check_reachable(["no-such-command"])


def test_a_python_that_the_path_finds_in_holdfasts_own_environment_is_known_as_such(tmp_path: Path) -> None:
    """Also where it is a link to the same program as another environment's."""
    (tmp_path / "python").symlink_to(os.path.realpath(sys.executable))
    own, others = os.path.dirname(sys.executable), str(tmp_path)
    assert is_own_python(["python", "train.py"], {"PATH": f"{own}:{others}"})
    assert not is_own_python(["python", "train.py"], {"PATH": f"{others}:{own}"})
    assert is_own_python([sys.executable], {})
    assert not is_own_python(["sh", "-c", "python train.py"], {"PATH": f"{own}:/bin"})

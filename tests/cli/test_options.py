"""Variables and settings files serve all commands: what one does not know may be another's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from holdfast.cli.main import cli


def ls(store: Path, *options: str, **variables: str) -> Result:
    return CliRunner().invoke(cli, ["ls", *options], env={"HOLDFAST_STORE": str(store), **variables})


def test_a_variable_of_another_command_is_no_typo(tmp_path: Path) -> None:
    done = ls(tmp_path, HOLDFAST_STALL_TIMEOUT="1800", HOLDFAST_WORK_DIR="runs", HOLDFAST_RUN_DIR="x")
    assert "warning" not in done.stderr
    assert done.exit_code == 0


@pytest.mark.parametrize(
    ("name", "hint"), [("HOLDFAST_STROE", "; did you mean HOLDFAST_STORE?"), ("HOLDFAST_ZZZZZZZZZZZZZZZZZZ", "")]
)
def test_a_variable_that_no_command_knows_is_warned_of(tmp_path: Path, name: str, hint: str) -> None:
    assert (
        ls(tmp_path, **{name: "x"}).stderr.splitlines()[0]
        == f"holdfast: warning: the variable {name} is not a setting{hint}"
    )


def test_a_settings_file_may_hold_settings_of_all_commands(tmp_path: Path) -> None:
    file = tmp_path / "holdfast.toml"
    file.write_text(f'store = "{tmp_path}"\nstall-timeout = 1800\nkeep-last = 3\n')
    assert CliRunner().invoke(cli, ["ls", "--config", str(file)]).exit_code == 0
    file.write_text("stall-timeuot = 1800\n")
    said = str(CliRunner().invoke(cli, ["ls", "--config", str(file)]).exception)
    assert said == f"--config {file}: unknown setting 'stall-timeuot'; did you mean stall-timeout?"
    file.write_text("zzzzzzzz = 1\n")
    said = str(CliRunner().invoke(cli, ["ls", "--config", str(file)]).exception)
    assert said == f"--config {file}: unknown setting 'zzzzzzzz' (see holdfast run --help)"


def test_a_store_whose_folder_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    said = str(ls(tmp_path / "none").exception)
    assert said.startswith(f"there are no runs in {tmp_path / 'none'}: there is no such folder; correct --store, or ")


def test_every_command_is_listed_with_its_help() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).output
    for name in ("run", "status", "new", "ls", "verify", "pull", "prune", "rm", "doctor", "demo", "drill"):
        assert f"\n  {name} " in shown


def complaint(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "holdfast", *words, "--config", os.devnull],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 78
    return done.stderr


@pytest.mark.parametrize("command", ["ls", "verify", "pull", "prune"])
def test_who_gives_the_run_as_an_option_where_it_is_an_argument_is_told_so(command: str) -> None:
    said = complaint(command, "--run", "digits")
    assert f"No such option '--run'; give the run as an argument: holdfast {command} NAME (see" in said


def test_other_options_that_do_not_exist_are_not_taken_for_a_run() -> None:
    assert "as an argument" not in complaint("ls", "--rum", "digits")
    assert "as an argument" not in complaint("new", "--run", "digits")


def test_only_commands_that_take_a_command_speak_of_its_place() -> None:
    assert "Missing option '--store'" in complaint("ls")
    assert "before the command" not in complaint("ls")
    assert "before the command" in complaint("run")


@pytest.mark.parametrize(("flag", "unit"), [("--max-hours", "hours"), ("--drain-time", "seconds")])
def test_a_number_that_is_none_is_told_by_its_unit(tmp_path: Path, flag: str, unit: str) -> None:
    words = ["run", "--store", str(tmp_path), "--run", "x", flag, "abc", "--", "true"]
    assert f"'abc' is not a valid number of {unit}" in str(CliRunner().invoke(cli, words).output)

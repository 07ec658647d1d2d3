"""``holdfast drill``: it passes for what is resumable, fails for what is not, and says why."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from holdfast.core.errors import Exit

from .daemons import SCRIPTS, Daemon

COUNT = [sys.executable, str(SCRIPTS / "count.py")]


def drill(*arguments: str, command: list[str] = COUNT, **environment: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the report and all that was printed."""
    daemon = Daemon(["drill", "--json", *arguments, "--", *command], environment)
    code = daemon.process.wait(200)
    daemon.close()
    start = daemon.lines.index("{") if "{" in daemon.lines else None
    report = json.loads("\n".join(daemon.lines[start : daemon.lines.index("}") + 1])) if start is not None else {}
    return code, report, daemon.text


def test_a_resumable_script_passes_with_every_kind_of_interruption() -> None:
    code, report, text = drill("--interruptions", "3", "--seed", "4", PACE="0.01", STEPS="150", EVERY="10")
    assert code == 0, text
    assert report["passed"]
    assert report["identical"]
    assert sorted(i["kind"] for i in report["interruptions"]) == ["notice", "sigkill", "sigterm"]
    assert all(0 < i["struck"] < 150 for i in report["interruptions"])
    assert all(i["redone"] == 0 for i in report["interruptions"] if i["kind"] != "sigkill")
    assert all(i["redone"] <= 20 for i in report["interruptions"]), "one interval, and what was on its way"
    assert report["executed"] == 150 + sum(i["redone"] for i in report["interruptions"])


def test_a_script_that_does_not_use_what_was_restored_fails() -> None:
    environment = {"PACE": "0.01", "STEPS": "100", "IGNORE_RESUME": "1"}
    code, report, text = drill("--interruptions", "1", "--kinds", "sigterm", "--seed", "1", **environment)
    assert code == Exit.FAILED, text
    assert not report["passed"]
    assert "does not use what was restored" in report["cause"]
    assert any("started over" in problem for problem in report["problems"])


def test_a_script_that_does_not_equal_itself_is_found_out() -> None:
    code, report, text = drill("--interruptions", "1", STEPS="60", PACE="0.005", UNSEEDED="1")
    assert code == Exit.FAILED, text
    assert not report["deterministic"]
    assert report["interruptions"] == []
    assert report["differences"][0]["path"] == "array[0] weights"
    assert "set_random_seed" in report["remedy"]


@pytest.mark.whole
def test_a_shuffle_that_cannot_be_continued_is_named_as_the_cause() -> None:
    command = [sys.executable, str(SCRIPTS / "keras_fit.py")]
    environment = {"SHUFFLE": "1", "EPOCHS": "6", "PACE": "0.02"}
    code, report, text = drill(
        "--interruptions", "1", "--kinds", "sigterm", "--seed", "7", command=command, **environment
    )
    assert code == Exit.FAILED, text
    assert report["deterministic"]
    assert "order of the data" in report["cause"]
    assert "holdfast.dataset" in report["remedy"]
    assert report["executed"] == report["batches"], "though every batch number was done once"


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_the_output_of_a_command_that_fails_by_itself_is_shown(quiet: list[str]) -> None:
    command = [sys.executable, "-c", "import sys; print('dear me'); sys.exit(3)"]
    code, _, text = drill(*quiet, command=command)
    assert code == Exit.FAILED
    assert text.count("│ dear me\n") == 1
    assert text.index("│ dear me") < text.index("its output is above")


@pytest.mark.parametrize(
    ("arguments", "what"),
    [(["--kinds", "flood"], "--kinds"), (["--interruptions", "0"], "--interruptions"), (["--seed", "x"], "--seed")],
)
def test_wrong_settings_are_named(arguments: list[str], what: str) -> None:
    code, _, text = drill(*arguments)
    assert code == Exit.USAGE
    assert what in text


def test_a_command_that_fails_by_itself_is_no_drill() -> None:
    code, _, text = drill(command=[sys.executable, "-c", "import sys; sys.exit('broken')"])
    assert code == Exit.FAILED
    assert "fails by itself" in text


@pytest.mark.whole
def test_the_shipped_example_passes_with_five_interruptions_of_every_kind() -> None:
    command = [sys.executable, "-m", "holdfast.examples.digits", "--epochs", "6"]
    code, report, text = drill("--interruptions", "5", "--quiet", command=command)
    assert code == 0, text
    assert len(report["interruptions"]) == 5
    assert {i["kind"] for i in report["interruptions"]} == {"notice", "sigterm", "sigkill"}

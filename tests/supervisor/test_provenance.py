from __future__ import annotations

import hashlib
import json
import platform
import socket
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.core.redact import HIDDEN, Redactor
from holdfast.supervisor.provenance import changes, origin, training_options
from holdfast.supervisor.settings import RunSettings

OPEN = Redactor({})


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text("print('training')\n")
    return path


@pytest.fixture
def settings(tmp_path: Path, script: Path) -> RunSettings:
    return RunSettings("digits", tmp_path, ("python", str(script), "--epochs", "6"))


def written(settings: RunSettings) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(training_options(settings, "s3://bucket/prefix", "00001-digits", 2, OPEN))
    return document


def test_the_origin_names_the_command_and_the_scripts_content(script: Path) -> None:
    found = origin(["python", str(script), "--epochs", "6"], OPEN)
    assert found["command"] == ["python", str(script), "--epochs", "6"]
    assert found["script_sha256"] == hashlib.sha256(script.read_bytes()).hexdigest()


def test_the_origin_changes_with_the_script(script: Path) -> None:
    before = origin([str(script)], OPEN)
    script.write_text("print('something else')\n")
    assert origin([str(script)], OPEN) != before


@pytest.mark.parametrize(
    "command", [[], ["python", "-m", "package.train"], ["python", "missing.py"], ["bash", "train.sh"]]
)
def test_a_command_without_a_script_that_can_be_read_has_no_script_hash(command: list[str]) -> None:
    assert origin(command, OPEN)["script_sha256"] is None


def test_only_a_python_file_counts_as_the_script(script: Path) -> None:
    data = script.with_suffix(".npz")
    data.write_bytes(b"data")
    assert origin(["train", str(data)], OPEN)["script_sha256"] is None
    assert origin(["train", str(data), str(script)], OPEN)["script_sha256"] is not None


def test_the_origin_names_the_versions_and_the_processor() -> None:
    found = origin([], OPEN)
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["holdfast"] == holdfast.__version__, "its own, not that of a package which has its name"
    frameworks = {"tensorflow", "jax", "jaxlib", "torch", "keras", "tf_keras"}
    assert set(found["versions"]) <= {"python", "holdfast", *frameworks, "numpy", "h5py"}
    assert found["cpu"]


def test_the_options_tell_what_was_run_where_and_how(settings: RunSettings, tmp_path: Path) -> None:
    options = written(replace(settings, extend=True))
    assert options["run"] == "00001-digits"
    assert options["incarnation"] == 2
    assert options["store"] == "s3://bucket/prefix"
    assert options["work_dir"] == str(tmp_path)
    assert options["host"] == socket.gethostname()
    assert options["extend"] is True
    assert options["drain_time"] == settings.rules.drain_time
    assert datetime.fromisoformat(options["started"]).tzinfo is not None
    assert options.items() >= origin(settings.command, OPEN).items()


def test_the_options_hold_nothing_of_the_environment(settings: RunSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-that-must-not-be-written")
    monkeypatch.setenv("WANDB_API_KEY", "another-secret")
    text = json.dumps(written(settings))
    assert "secret" not in text


def test_neither_the_origin_nor_the_options_tell_a_secret_of_the_command_line(settings: RunSettings) -> None:
    settings = replace(settings, command=(*settings.command, "--api-key", "abc", "--epochs", "3"))
    told = origin(settings.command, OPEN)["command"]
    assert told[-4:] == ["--api-key", HIDDEN, "--epochs", "3"]
    assert written(settings)["command"] == told


BEFORE = {
    "command": ["python", "a.py"],
    "script_sha256": "00",
    "cpu": "Xeon",
    "versions": {"keras": "3.8", "gone": "1"},
}


def test_an_origin_that_is_the_same_has_no_changes() -> None:
    assert changes(BEFORE, BEFORE) == []


def test_what_the_result_depends_on_and_is_another_now_is_told() -> None:
    now = {"command": ["python", "b.py"], "script_sha256": "11", "cpu": "EPYC", "versions": {"keras": "3.9"}}
    assert changes(BEFORE, now) == [
        "the command is another: python a.py before",
        "the script is another",
        "the CPU is another: Xeon before",
        "keras 3.8 is 3.9 here",
    ]


@pytest.mark.parametrize("before", [{}, {"versions": "none"}, {"versions": {"keras": ["\x1b[31m"]}, "cpu": {"a": 1}}])
def test_an_origin_from_the_store_may_be_anything(before: dict[str, Any]) -> None:
    assert all(line.isprintable() for line in changes(before, {**BEFORE, "cpu": "x"}))

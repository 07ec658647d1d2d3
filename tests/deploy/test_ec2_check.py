"""The check on real AWS is not run here; what it would do is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .stacks import EC2, template

SCRIPT = EC2 / "check-on-aws"
WHEEL = ("--requirement", "holdfast-train[demo] @ https://wheels.example/holdfast_train-0.1.0-py3-none-any.whl")


def check(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With an ``aws`` that must not be called."""
    aws = folder / "aws"
    aws.write_text("#!/bin/sh\necho called >>$0.log\nexit 1\n")
    aws.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "TMPDIR": str(folder)}
    return subprocess.run([SCRIPT, *arguments], env=environment, capture_output=True, text=True, timeout=60)


def test_a_dry_run_says_what_it_would_do_and_calls_nothing(tmp_path: Path) -> None:
    done = check(tmp_path, "--dry-run", "--interruptions", "2", *WHEEL)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "aws.log").exists()
    calls = [line.removeprefix("aws ") for line in done.stderr.splitlines()]
    assert sum(call.startswith("fis start-experiment ") for call in calls) == 2
    made = [i for i, call in enumerate(calls) if "cloudformation deploy" in call]
    assert made < [i for i, call in enumerate(calls) if "fis start-experiment" in call]


def test_whatever_it_makes_it_removes(tmp_path: Path) -> None:
    calls = check(tmp_path, "--dry-run", *WHEEL).stderr
    for made, removed in (
        ("s3 mb", "s3 rb --force"),
        ("cloudformation deploy", "cloudformation delete-stack"),
        ("iam create-role", "iam delete-role --role-name"),
        ("iam put-role-policy", "iam delete-role-policy"),
        ("fis create-experiment-template", "fis delete-experiment-template"),
    ):
        assert calls.index(made) < calls.index(removed), made


def test_it_gives_the_template_parameters_that_it_has(tmp_path: Path) -> None:
    (deploy,) = [
        line
        for line in check(tmp_path, "--dry-run", *WHEEL).stderr.splitlines()
        if line.startswith("aws cloudformation deploy")
    ]
    given = {word.partition("=")[0] for word in deploy.partition("--parameter-overrides ")[2].split() if "=" in word}
    parameters = template()["Parameters"]
    required = {name for name, parameter in parameters.items() if "Default" not in parameter}
    assert required <= given <= set(parameters)


def test_when_aws_refuses_it_stops_at_once_and_fails(tmp_path: Path) -> None:
    done = check(tmp_path, *WHEEL)
    assert done.returncode != 0
    assert (tmp_path / "aws.log").read_text() == "called\n"


@pytest.mark.parametrize("arguments", [["--interruptions", "none"], ["--interruptions", "0"], ["--what"]])
def test_wrong_arguments_are_named(tmp_path: Path, arguments: list[str]) -> None:
    done = check(tmp_path, *arguments)
    assert done.returncode == 78
    assert arguments[0] in done.stderr


def test_it_needs_a_wheel_since_a_name_would_be_another_projects(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 78
    assert "--requirement" in done.stderr
    assert not (tmp_path / "aws.log").exists()

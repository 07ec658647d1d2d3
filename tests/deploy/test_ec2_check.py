"""The check on real AWS, run against an ``aws`` that answers as AWS should: once as it is, and failing at each call."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes.rows import first_rows
from holdfast.core.errors import Exit

from .conftest import Site
from .stacks import EC2, template

SCRIPT = EC2 / "check-on-aws"
RUN = "runs/00001-check"
Events = list[dict[str, Any]]
AWS = r"""#!/bin/sh
folder=$(dirname "$0")
echo "$*" >>"$folder/calls"
fail() { echo "$1" >&2; exit 254; }
[ "$(wc -l <"$folder/calls")" = "$(cat "$folder/fails-at" 2>/dev/null)" ] && fail "$(cat "$folder/error")"
case $* in
  'sts get-caller-identity '*) echo '"123456789012"' ;;
  'ec2 describe-vpcs '*) echo '"vpc-1"' ;;
  'ec2 describe-subnets '*) echo '"subnet-1,subnet-2"' ;;
  'cloudformation describe-stacks '*) echo '"s3://bucket/runs"' ;;
  'fis create-experiment-template '*) echo '"EXT1"' ;;
  'fis start-experiment '*) echo '"EXP1"' ;;
  'fis get-experiment '*) cat "$folder/experiment" ;;
  's3api list-objects-v2 '*/complete.json*) cat "$folder/complete" ;;
  's3api list-objects-v2 '*) echo '["runs/00001-check/model-0001-00000033-4.9-i1-q1.h5"]' ;;
  'autoscaling describe-auto-scaling-groups '*) echo 0 ;;
  's3 cp --recursive '*) for last; do :; done; mkdir -p "$last" && cp "$folder"/events-i*.jsonl "$last" ;;
esac
"""


class Check:
    """Runs the check in ``folder``, where the answers of its ``aws`` are files."""

    def __init__(self, folder: Path, machines: list[Events]) -> None:
        self.folder = folder
        (folder / "aws").write_text(AWS)
        (folder / "aws").chmod(0o755)
        (folder / "experiment").write_text('"completed"')
        (folder / "complete").write_text(json.dumps([f"{RUN}/complete.json"]))
        (folder / "error").write_text("An error occurred (InternalFailure)")
        (folder / "holdfast_train-1-py3-none-any.whl").write_text("a wheel")
        for number, events in enumerate(machines, 1):
            text = "".join(json.dumps(event) + "\n" for event in events)
            (folder / f"events-i{number}.jsonl").write_text(text)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "calls").unlink(missing_ok=True)
        words = [SCRIPT, "--pause", "0", "--wheel", self.folder / "holdfast_train-1-py3-none-any.whl", *arguments]
        path = f"{self.folder}:{Path(sys.executable).parent}:/usr/bin:/bin"
        environment = {"PATH": path, "TMPDIR": str(self.folder)}
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def failing_at(self, number: int) -> subprocess.CompletedProcess[str]:
        (self.folder / "fails-at").write_text(str(number))
        return self.run()


def machine(number: int, code: int, begin: int, end: int) -> Events:
    """What the ``number``-th one tells that does the batches from ``begin`` to ``end``."""
    resumed = {"event": "restored", "checkpoint": pair(number - 1, begin)} if begin else {"event": "fresh"}
    notice = {"event": "notice", "what": "spot notice (terminate at 10:00:00 UTC)", "seconds": 118.0}
    events = [
        {"event": "lease", "incarnation": number},
        resumed,
        {"event": "started"},
        notice if code else {"event": "training-finished"},
        {"event": "stored", "checkpoint": pair(number, end)},
        {"event": "exited", "code": code, "executed": end - begin},
    ]
    return [{"text": "", **event} for event in events]


def pair(number: int, step: int) -> str:
    return f"model-0001-{step:08}-4.9029-i{number}-q{number}"


def good() -> list[Events]:
    return [machine(1, 75, 0, 33), machine(2, 0, 33, 60)]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    return Check(tmp_path, good())


def test_it_passes_where_all_is_well(check: Check) -> None:
    done = check.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed: 1 interruption(s)" in done.stdout


def test_it_agrees_with_what_real_machines_tell(site: Site, tmp_path: Path) -> None:
    first = site.park.start("one", HOLD_AT="33", EVERY="1000")
    site.park.until_step("one", 33, first)
    site.metadata.interrupt()
    assert first.wait() == Exit.STOPPED, first.text
    site.metadata.clear()
    assert site.park.start("two").wait() == Exit.COMPLETE
    folder = tmp_path / "check"
    folder.mkdir()
    done = Check(folder, [site.park.events("one"), site.park.events("two")]).run()
    assert done.returncode == 0, done.stdout + done.stderr


REMOVALS = {
    "cloudformation deploy": "cloudformation delete-stack",
    "s3 mb": "s3 rb --force",
    "iam create-role": "iam delete-role --role-name",
    "iam put-role-policy": "iam delete-role-policy",
    "fis create-experiment-template": "fis delete-experiment-template",
}


@pytest.mark.whole
def test_whichever_call_fails_the_check_fails_and_removes_what_it_made(check: Check) -> None:
    check.run()
    calls = check.calls()
    assert len(calls) > 20
    for number, failing in enumerate(calls, 1):
        done = check.failing_at(number)
        assert done.returncode == 1, f"{number}: {failing}: {done.stdout}"
        assert "passed" not in done.stdout
        assert "InternalFailure" in done.stderr
        for made, removed in REMOVALS.items():
            if any(call.startswith(made) for call in check.calls()) and not failing.startswith(made):
                assert any(call.startswith(removed) for call in check.calls()), f"{number}: {failing}: {removed}"
        if failing.startswith(tuple(REMOVALS.values())):
            assert f"not removed, do it by hand: aws {failing.split()[0]}" in done.stderr


def expiring(check: Check, number: int) -> None:
    (check.folder / "error").write_text("An error occurred (ExpiredTokenException) when calling: the token has expired")
    done = check.failing_at(number)
    assert done.returncode == 0, done.stderr
    assert "the credentials have expired: renew them" in done.stdout


def test_credentials_that_expire_are_waited_for(check: Check) -> None:
    expiring(check, 12)


@pytest.mark.whole
def test_credentials_that_expire_at_any_call_are_waited_for(check: Check) -> None:
    """Every fourth call is tried, from a random one on."""
    check.run()
    for number in range(random.SystemRandom().randint(1, 4), len(check.calls()) + 1, 4):
        expiring(check, number)


def edited(number: int, kind: str, **facts: object) -> Callable[[list[Events]], None]:
    def edit(machines: list[Events]) -> None:
        next(event for event in machines[number - 1] if event["event"] == kind).update(facts)

    return edit


def added(number: int, kind: str) -> Callable[[list[Events]], None]:
    return lambda machines: machines[number - 1].append({"event": kind, "text": ""})


@pytest.mark.parametrize(
    ("change", "named"),
    first_rows(
        4,
        [
            (edited(1, "notice", what="rebalance recommendation"), "saw a spot notice"),
            (edited(1, "exited", code=74), "exit code of machine 1's training: 74 instead of 75"),
            (edited(1, "exited", code=0), "0 instead of 75"),
            (edited(1, "exited", executed=34), "batches executed"),
            (edited(2, "exited", executed=28), "batches executed"),
            (edited(2, "exited", code=1), "exit code of machine 2's training"),
            (edited(2, "restored", checkpoint=pair(1, 20)), "resumed from"),
            (edited(2, "restored", event="fresh"), "'restored'"),
            (edited(2, "training-finished", event="phase"), "'training-finished'"),
            (added(1, "left-behind"), "losses of machine 1: ['left-behind']"),
            (added(1, "exited"), "how often"),
            (list.pop, "the machines that trained: 1 instead of 2"),
        ],
    ),
)
def test_an_end_that_lost_something_fails_the_check_and_is_named(
    tmp_path: Path, change: Callable[[list[Events]], None], named: str
) -> None:
    machines = good()
    change(machines)
    done = Check(tmp_path, machines).run()
    assert done.returncode == 1
    assert named in done.stderr


def test_a_start_that_only_waited_for_the_end_of_its_machine_is_no_machine(tmp_path: Path) -> None:
    first, second = good()
    done = Check(tmp_path, [first, [{"event": "waiting", "text": ""}], second]).run()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("answer", "text", "named"),
    first_rows(
        1,
        [
            ("experiment", '"failed"', "the experiment's end: 'failed'"),
            ("complete", "[]", "the mark of a complete run"),
            ("complete", "null", "no answer"),
        ],
    ),
)
def test_an_answer_that_is_not_the_awaited_one_fails_the_check(
    check: Check, answer: str, text: str, named: str
) -> None:
    (check.folder / answer).write_text(text)
    done = check.run()
    assert done.returncode == 1
    assert named in done.stderr


def test_a_wait_has_an_end(check: Check) -> None:
    """One machine has stored pairs, so the second interruption waits in vain."""
    done = check.run("--interruptions", "2")
    assert done.returncode == 1
    assert "machine 2 has stored a pair: not so after 1800 s" in done.stderr


def test_a_dry_run_says_what_it_would_do_and_calls_nothing(check: Check) -> None:
    done = check.run("--dry-run", "--interruptions", "2")
    assert done.returncode == 0, done.stderr
    assert check.calls() == []
    assert "passed" not in done.stdout
    calls = [line.removeprefix("aws ") for line in done.stderr.splitlines()]
    assert sum(call.startswith("fis start-experiment ") for call in calls) == 2
    made = [i for i, call in enumerate(calls) if "cloudformation deploy" in call]
    assert made < [i for i, call in enumerate(calls) if "fis start-experiment" in call]


def test_it_gives_the_template_parameters_that_it_has(check: Check) -> None:
    (deploy,) = [
        line for line in check.run("--dry-run").stderr.splitlines() if line.startswith("aws cloudformation deploy")
    ]
    given = {word.partition("=")[0] for word in deploy.partition("--parameter-overrides ")[2].split() if "=" in word}
    parameters = template()["Parameters"]
    required = {name for name, parameter in parameters.items() if "Default" not in parameter}
    assert required <= given <= set(parameters)


@pytest.mark.parametrize("arguments", [["--interruptions", "none"], ["--interruptions", "0"], ["--what"]])
def test_wrong_arguments_are_named(check: Check, arguments: list[str]) -> None:
    done = check.run(*arguments)
    assert done.returncode == 78
    assert arguments[0] in done.stderr
    assert check.calls() == []

"""The files for schedulers: the Slurm script with stand-ins, and the options and exit codes of all."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import botocore.loaders
import botocore.model
import botocore.validate
import pytest
import yaml
from click import Option

from holdfast.cli.run import run
from holdfast.core.errors import Exit
from integration.daemons import wait_for

FOLDER = Path(__file__).parents[2] / "deploy/schedulers"
AGAIN = {int(Exit.STOPPED), int(Exit.UNSTORED)}
FLAGS = {flag for option in run.params if isinstance(option, Option) for flag in option.opts}


def stand_in(folder: Path, name: str, lines: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{lines}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("code", "requeued"), [(75, True), (74, True), (0, False), (70, False), (69, False)])
def test_slurms_script_passes_the_signal_on_waits_and_asks_for_another_start(
    tmp_path: Path, code: int, requeued: bool
) -> None:
    stand_in(tmp_path, "holdfast", f"echo \"$@\" > {tmp_path}/words\ntrap 'sleep 0.2; exit {code}' TERM\n"
             f"touch {tmp_path}/runs\nwhile :; do sleep 0.05; done")  # fmt: skip
    stand_in(tmp_path, "scontrol", f'echo "$@" > {tmp_path}/scontrol-was-asked')
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "digits",
    }
    words = ["bash", str(FOLDER / "slurm.sbatch"), "python", "train.py", "--name", "two words"]
    job = subprocess.Popen(words, env=environment)
    wait_for(lambda: (tmp_path / "runs").exists(), "the command", alive=job)
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == code
    asked = tmp_path / "scontrol-was-asked"
    assert (asked.read_text() if asked.exists() else "") == ("requeue 4711\n" if requeued else "")
    told = (tmp_path / "words").read_text()
    assert told == (
        f"run --store {tmp_path}/holdfast --run digits --work-dir {tmp_path}/holdfast-4711 -- "
        "python train.py --name two words\n"
    )


def test_the_options_in_the_files_are_those_of_run() -> None:
    batch: dict[str, Any] = json.loads((FOLDER / "aws-batch.json").read_text())
    sky = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
    slurm = (FOLDER / "slurm.sbatch").read_text()
    commands = [
        " ".join(batch["containerProperties"]["command"]),
        *re.findall(r"^ *holdfast run (.*)$", sky["run"], re.MULTILINE),
        *re.findall(r"^holdfast run (.*)$", slurm, re.MULTILINE),
        " ".join(containers("kubernetes-gang.yaml")[0]["args"]),
        " ".join(containers("kubernetes-job.yaml")[0]["args"]),
        " ".join(yaml.safe_load((FOLDER / "kubeflow-trainjob.yaml").read_text())["spec"]["trainer"]["args"]),
    ]
    assert len(commands) == 6
    for command in commands:
        assert set(re.findall(r"--[a-z][a-z-]*", command.partition(" -- ")[0])) <= FLAGS


def containers(file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((FOLDER / file).read_text())["spec"]["template"]["spec"]["containers"]
    return found


def test_the_job_of_several_machines_has_one_pod_a_rank_and_tells_the_exit_codes_apart() -> None:
    job = yaml.safe_load((FOLDER / "kubernetes-gang.yaml").read_text())["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"], "all ranks train at the same time"
    assert f"--ranks={job['completions']}" in containers("kubernetes-gang.yaml")[0]["args"]
    by_action = {rule["action"]: set(rule["onExitCodes"]["values"]) for rule in job["podFailurePolicy"]["rules"][:2]}
    assert by_action == {"FailJob": {Exit.FAILED, Exit.USAGE}, "Ignore": {Exit.STOPPED}}


def test_aws_batch_takes_the_job_definition() -> None:
    """By the service's own model, as the AWS SDK has it."""
    loader = botocore.loaders.create_loader()
    model = botocore.model.ServiceModel(loader.load_service_model("batch", "service-2"))
    shape = model.operation_model("RegisterJobDefinition").input_shape
    given = json.loads((FOLDER / "aws-batch.json").read_text())
    report = botocore.validate.ParamValidator().validate(given, shape)
    assert not report.has_errors(), report.generate_report()


def test_the_exit_codes_that_start_it_again_are_the_same_everywhere() -> None:
    batch = json.loads((FOLDER / "aws-batch.json").read_text())
    rules = batch["retryStrategy"]["evaluateOnExit"]
    assert {int(rule["onExitCode"]) for rule in rules if "onExitCode" in rule and rule["action"] == "RETRY"} == AGAIN
    assert rules[-1] == {"onReason": "*", "action": "EXIT"}
    sky = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
    assert set(sky["resources"]["job_recovery"]["recover_on_exit_codes"]) == AGAIN


def test_a_death_by_a_signal_keeps_its_code(tmp_path: Path) -> None:
    stand_in(tmp_path, "holdfast", "kill -KILL $$")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "SLURM_JOB_ID": "1"}
    words = ["bash", str(FOLDER / "slurm.sbatch"), "true"]
    done = subprocess.run(words, env=environment, capture_output=True, check=False, timeout=30)
    assert done.returncode == 128 + signal.SIGKILL

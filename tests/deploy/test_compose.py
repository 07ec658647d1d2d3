"""The files for containers say what docs/containers.md says that they say. tests/real runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.core.errors import Exit
from holdfast.core.machine.table import Rules

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def services() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "docker" / "compose.yaml").read_text())
    return document["services"]


@pytest.fixture
def job() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "deploy/schedulers/kubernetes-job.yaml").read_text())
    return document["spec"]


def test_compose_gives_a_stop_more_time_than_a_drain_may_take(services: dict[str, Any]) -> None:
    grace = services["training"]["stop_grace_period"]
    assert grace.endswith("s")
    assert int(grace[:-1]) > Rules().drain_time


def test_composes_training_writes_to_its_volume_and_to_memory_only(services: dict[str, Any]) -> None:
    training = services["training"]
    assert training["read_only"] is True
    assert training["tmpfs"] == ["/tmp"]
    assert training["volumes"] == ["runs:/runs"]
    assert training["cap_drop"] == ["ALL"]


def test_composes_s3_server_is_the_one_that_the_tests_run_against(services: dict[str, Any]) -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert services["s3"]["image"] == f"docker.io/motoserver/moto:{pins['moto']}"


def test_a_kubernetes_pod_gets_more_time_than_a_drain_may_take(job: dict[str, Any]) -> None:
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] > Rules().drain_time


def test_a_kubernetes_job_goes_on_after_75_and_ends_where_a_restart_is_no_help(job: dict[str, Any]) -> None:
    rules = {rule["action"]: rule["onExitCodes"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule}
    [container] = job["template"]["spec"]["containers"]
    assert {rule["containerName"] for rule in rules.values()} == {container["name"]}
    assert rules["Ignore"]["values"] == [int(Exit.STOPPED)]
    assert rules["FailJob"]["values"] == [int(Exit.FAILED), int(Exit.USAGE)]
    assert job["template"]["spec"]["restartPolicy"] == "Never", "a failure policy needs it"

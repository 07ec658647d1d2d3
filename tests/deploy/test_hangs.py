"""Whatever is shipped to run unattended has a training that hangs restarted, after the same time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from .stacks import create

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
ON = "HOLDFAST_STALL_TIMEOUT=1800"


@pytest.mark.parametrize("folder", ["systemd", "docker"])
def test_the_units_do(folder: str) -> None:
    assert f"\nEnvironment={ON}\n" in (DEPLOY / folder / "holdfast@.service").read_text()


def test_the_machines_on_ec2_do(s3_server: str) -> None:
    assert f"\nEnvironment={ON}\n" in create(s3_server).user_data()


def test_the_containers_on_ec2_do(s3_server: str) -> None:
    """docker passes a variable on that is named without a value."""
    text = create(s3_server, Code="registry.example/my-training:1").user_data()
    (unit,) = re.findall(r"Requires=docker.service.*?^CONTAINER$", text, re.DOTALL | re.MULTILINE)
    assert f"\nEnvironment={ON}\n" in unit
    (command,) = re.findall(r"^ExecStart=(.*?[^\\])$", unit, re.DOTALL | re.MULTILINE)
    assert "--env HOLDFAST_STALL_TIMEOUT \\\n" in command


def test_compose_does() -> None:
    document = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    name, _, value = ON.partition("=")
    assert document["services"]["training"]["environment"][name] == value

"""Whatever is shipped to run unattended has a training that hangs restarted, after the same time."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import pytest
import yaml

from .stacks import packed_set_up

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
ON = "HOLDFAST_STALL_TIMEOUT=1800"


@pytest.mark.parametrize("folder", ["systemd", "docker"])
def test_the_units_do(folder: str) -> None:
    assert f"\nEnvironment={ON}\n" in (DEPLOY / folder / "holdfast@.service").read_text()


@pytest.mark.parametrize("folder", ["systemd", "docker"])
def test_the_machines_on_ec2_do(folder: str) -> None:
    """Their set-up brings the same units."""
    with tarfile.open(fileobj=io.BytesIO(packed_set_up())) as archive:
        unit = archive.extractfile(f"{folder}/holdfast@.service")
        assert unit is not None
        assert f"\nEnvironment={ON}\n" in unit.read().decode()


def test_the_containers_do() -> None:
    """docker passes a variable on that is named without a value."""
    unit = (DEPLOY / "docker" / "holdfast@.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.*?[^\\])$", unit, re.DOTALL | re.MULTILINE)
    assert "--env HOLDFAST_STALL_TIMEOUT \\\n" in command


def test_compose_does() -> None:
    document = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    name, _, value = ON.partition("=")
    assert document["services"]["training"]["environment"][name] == value

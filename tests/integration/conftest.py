"""A machine park over each kind of store. ``s3_server`` and ``bucket`` are made in tests/conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.drill.fake_imds import MetadataService

from .commands import Cli
from .daemons import Machines, machines
from .forks import Forks, forks

STORES = ["directory", pytest.param("s3", marks=pytest.mark.whole)]
"""What S3 does is tested at the store, so that `make test` has a few of these on both."""


def on_both(fixture: str) -> pytest.MarkDecorator:
    """In `make test` too, ``fixture`` is over a directory and over S3."""
    return pytest.mark.parametrize(fixture, ["directory", "s3"], indirect=True)


@pytest.fixture(scope="session")
def forked() -> Iterator[Forks]:
    with forks() as found:
        yield found


@pytest.fixture(params=STORES)
def park(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machines]:
    """Machines over a directory, and over S3 by a real server."""
    if request.param == "directory":
        store, environment = str(tmp_path / "store"), {}
    else:
        bucket: str = request.getfixturevalue("bucket")
        server: str = request.getfixturevalue("s3_server")
        store, environment = f"s3://{bucket}/runs", {"HOLDFAST_ENDPOINT_URL": server}
    with machines(store, tmp_path / "machines", environment) as found:
        yield found


@pytest.fixture
def local_park(tmp_path: Path) -> Iterator[Machines]:
    """Machines over a directory."""
    with machines(str(tmp_path / "store"), tmp_path / "machines", {}) as found:
        yield found


@pytest.fixture(params=["directory"])
def cli(request: pytest.FixtureRequest, forked: Forks, tmp_path: Path, scratch: Path) -> Cli:
    """The commands over a directory, and where a test says ``on_both``, over S3 by a real server too."""
    if request.param == "directory":
        return Cli(str(tmp_path / "store"), scratch, forked)
    bucket: str = request.getfixturevalue("bucket")
    server: str = request.getfixturevalue("s3_server")
    return Cli(f"s3://{bucket}/runs", scratch, forked, {"HOLDFAST_ENDPOINT_URL": server})


@pytest.fixture
def local_cli(forked: Forks, tmp_path: Path, scratch: Path) -> Cli:
    """The commands over a directory."""
    return Cli(str(tmp_path / "store"), scratch, forked)


@pytest.fixture
def metadata() -> Iterator[MetadataService]:
    with MetadataService() as service:
        yield service


def answered_by(service: MetadataService) -> dict[str, Any]:
    """The environment in which notices come from ``service``."""
    return {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": service.endpoint}

"""A machine park over each kind of store. ``s3_server`` and ``bucket`` are made in tests/conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.drill.metadata import MetadataService

from .commands import Cli
from .daemons import Machines, machines


@pytest.fixture(params=["directory", "s3"])
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


@pytest.fixture(params=["directory", "s3"])
def cli(request: pytest.FixtureRequest, tmp_path: Path, scratch: Path) -> Cli:
    """The commands over a directory, and over S3 by a real server."""
    if request.param == "directory":
        return Cli(str(tmp_path / "store"), scratch)
    bucket: str = request.getfixturevalue("bucket")
    server: str = request.getfixturevalue("s3_server")
    return Cli(f"s3://{bucket}/runs", scratch, {"HOLDFAST_ENDPOINT_URL": server})


@pytest.fixture
def local_cli(tmp_path: Path, scratch: Path) -> Cli:
    """The commands over a directory."""
    return Cli(str(tmp_path / "store"), scratch)


@pytest.fixture
def metadata() -> Iterator[MetadataService]:
    with MetadataService() as service:
        yield service


def answered_by(service: MetadataService) -> dict[str, Any]:
    """The environment in which notices come from ``service``."""
    return {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": service.endpoint}

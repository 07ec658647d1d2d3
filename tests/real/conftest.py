"""Real servers, each started once for the tests that ask for it. One that cannot start fails them: no skips."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from real.ceph import ceph
from real.localstack import localstack as start_localstack
from real.rclone import rclone
from real.servers import S3Server


@pytest.fixture(scope="session")
def radosgw() -> Iterator[S3Server]:
    """Ceph's gateway; mark the tests with ``xdist_group("radosgw")``, so that it is started once."""
    with ceph() as server:
        yield server


@pytest.fixture(scope="session")
def rclone_s3() -> Iterator[S3Server]:
    """An S3 server that keeps no conditions."""
    with rclone() as server:
        yield server


@pytest.fixture(scope="session")
def localstack() -> Iterator[S3Server]:
    """An S3 server that verifies checksums; mark the tests with ``xdist_group("localstack")``."""
    with start_localstack() as server:
        yield server

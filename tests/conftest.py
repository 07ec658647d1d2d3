"""What every test may use: an environment that reaches nothing outside this machine, and a real S3 server on it."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import boto3
import pytest

pytest.register_assert_rewrite("store.conformance")

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@pytest.fixture(autouse=True)
def safe_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the developer's own reach a test, and no test reaches the cloud."""
    for name in list(os.environ):
        if name.startswith(("HOLDFAST_", "AWS_")):
            monkeypatch.delenv(name)
    for name, value in _CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a moto server that runs as long as the session."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        env={**os.environ, **_CREDENTIALS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    found: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_listen, args=(server.stderr, found))
    reader.start()
    try:
        endpoint = found.get(timeout=60)
        assert endpoint is not None, "moto_server ended before it listened; is moto[server] installed?"
        yield endpoint
    finally:
        server.terminate()
        server.wait(timeout=30)
        reader.join(timeout=30)
        server.stderr.close()


def _listen(output: IO[str], found: queue.SimpleQueue[str | None]) -> None:
    """Finds the address where the server says that it listens; goes on reading, so that the pipe never fills."""
    for line in output:
        if match := re.search(r"Running on (http://127\.0\.0\.1:\d+)", line):
            found.put(match[1])
    found.put(None)


@pytest.fixture
def bucket(s3_server: str) -> str:
    """The name of a fresh bucket."""
    name = f"test-{uuid.uuid4().hex}"
    boto3.client("s3", endpoint_url=s3_server).create_bucket(Bucket=name)
    return name


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder for a test's own files, apart from those of what is tested."""
    path = tmp_path / "scratch"
    path.mkdir()
    return path

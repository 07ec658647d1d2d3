"""What every test may use: an environment that reaches nothing outside this machine, and a real S3 server on it."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import hypothesis
import pytest

from fakes.moto import CREDENTIALS, moto_server
from fakes.sdk import share_descriptions

pytest.register_assert_rewrite("store.conformance")

# Machines are shared: that an example took its time says nothing about the code.
hypothesis.settings.register_profile(
    "shared", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared")

share_descriptions()

# A background job of a shell ignores Ctrl-C, and what `nohup` starts ignores the end of its session; programs inherit
# that, and what the tests start must not. A handler of Python's is not inherited: after an exec it is the default.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)  # the tests themselves keep ignoring it


@pytest.fixture(autouse=True)
def safe_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the developer's own reach a test, and no test reaches the cloud."""
    for name in list(os.environ):
        if name.startswith(("HOLDFAST_", "AWS_")):
            monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a moto server that runs as long as the session."""
    with moto_server() as endpoint:
        yield endpoint


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

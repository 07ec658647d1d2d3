"""What every test may use: an environment that reaches nothing outside this machine, and a real S3 server on it."""

from __future__ import annotations

import os
import signal
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import hypothesis
import pytest

from fakes.moto import CREDENTIALS, MotoServer, moto_server
from fakes.sdk import share_descriptions
from holdfast.spool.files import write_whole
from integration.daemons import wait_for

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What may take longest is begun first: begun last, it would run alone. A group of tests counts as one."""
    limits: dict[str, float] = {}
    for item in items:
        limits[_group(item)] = limits.get(_group(item), 0) + _limit(item)
    items.sort(key=lambda item: -limits[_group(item)])


def _group(item: pytest.Item) -> str:
    """The name of its group, which one worker runs, or its own."""
    mark = item.get_closest_marker("xdist_group")
    return mark.args[0] if mark else item.nodeid


def _limit(item: pytest.Item) -> float:
    """In seconds; 0 where it has the usual one."""
    mark = item.get_closest_marker("timeout")
    return mark.args[0] if mark else 0


_ENDPOINT_FILE = pytest.StashKey[Path]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Workers of pytest-xdist share a server, which needs seconds of a core to start. They wait for it in a file."""
    config: pytest.Config = node.config
    if _ENDPOINT_FILE not in config.stash:
        folder = tempfile.TemporaryDirectory()
        file = config.stash[_ENDPOINT_FILE] = Path(folder.name) / "endpoint"
        server = MotoServer()
        server.when_it_listens(lambda endpoint: write_whole(file, endpoint.encode(), durable=False))
        config.add_cleanup(lambda: (server.close(), folder.cleanup()))
    node.workerinput["s3_endpoint_file"] = str(config.stash[_ENDPOINT_FILE])


@pytest.fixture(scope="session")
def s3_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The endpoint of a moto server that runs as long as the session."""
    shared = getattr(request.config, "workerinput", {}).get("s3_endpoint_file")
    if shared is None:
        with moto_server() as endpoint:
            yield endpoint
    else:
        wait_for(Path(shared).exists, "the S3 server")
        yield Path(shared).read_text()


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

"""The supervisor stays small beside a training that needs the machine."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from .daemons import machines, wait_for

_HEAVY = ("tensorflow", "keras", "numpy", "h5py", "scipy")


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_holdfast_loads_no_framework_and_no_sdk() -> None:
    loaded = loaded_by("import holdfast")
    assert not loaded & {*_HEAVY, "boto3", "botocore", "click", "rich"}


def test_opening_a_session_loads_no_tensorflow_and_no_sdk() -> None:
    loaded = loaded_by("import holdfast; holdfast.session")
    assert not loaded & {"tensorflow", "keras", "boto3", "botocore"}


def test_the_supervisor_loads_no_framework() -> None:
    loaded = loaded_by("import holdfast.cli.main, holdfast.store.s3, holdfast.supervisor.loop")
    assert not loaded & set(_HEAVY)


@pytest.mark.whole
@pytest.mark.parametrize("kind", ["directory", "s3"])
def test_beside_a_sleeping_child_it_needs_under_80_mb_and_1_percent_of_a_core_after_200_mb_too(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store, environment = str(tmp_path / "store"), {}
    if kind == "s3":
        store = f"s3://{request.getfixturevalue('bucket')}/runs"
        environment = {"HOLDFAST_ENDPOINT_URL": request.getfixturevalue("s3_server")}
    with machines(store, tmp_path / "machines", environment) as park:
        daemon = park.start("one", "--poll-interval", "2", "--lease-heartbeat", "10", "--lease-expiry", "30",
                            HOLD_AT="5", EVERY="5", SIZE="25000000")  # fmt: skip
        daemon.until("stored epoch 0, step 5")
        supervisor = psutil.Process(daemon.pid)
        assert settled(supervisor) < 80e6
        shares: list[float] = []
        while not any(share < 0.01 for share in shares):
            assert len(shares) < 3, f"{shares} of a core"  # in the first ones, what it stores besides may not be over
            shares.append(cpu_share(supervisor, 5.0))


def settled(process: psutil.Process) -> int:
    """Resident bytes."""
    return int(process.memory_info().rss)


def cpu_share(process: psutil.Process, seconds: float) -> float:
    """CPU time over wall time, while this process waits for the clock."""
    began, before = time.monotonic(), sum(process.cpu_times()[:2])
    wait_for(lambda: time.monotonic() >= began + seconds, "the clock")
    return (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)

"""The command starts while the checkpoint that it goes on from is still on its way."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.proxy import Asked, FaultProxy
from holdfast.core.errors import Exit
from holdfast.store import StoreSettings, open_store

from .daemons import SCRIPTS, Daemon, Machines, machines, wait_for

FAR = {"STEPS": "40", "HOLD_AT": "25"}
ON = {"STEPS": "40"}


class Gate:
    """A store whose checkpoints cannot be had until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def plan(self, asked: Asked) -> str | None:
        shut = asked.method == "GET" and asked.part == "data" and not self.opened.is_set()
        return "answer:503" if shut else None


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def park(s3_server: str, bucket: str, tmp_path: Path, gate: Gate) -> Iterator[Machines]:
    """Machine ``one`` has left a run with checkpoints; to all others its store is behind the gate."""
    store = f"s3://{bucket}/runs"
    with machines(store, tmp_path / "machines", {"HOLDFAST_ENDPOINT_URL": s3_server}) as found:
        first = found.start("one", **FAR)
        found.until_step("one", 25, first)
        assert first.terminate() == Exit.STOPPED
        with FaultProxy(s3_server, gate.plan) as proxy:
            found.environment["HOLDFAST_ENDPOINT_URL"] = proxy.endpoint
            yield found
            found.close()


def until(park: Machines, kind: str, daemon: Daemon) -> None:
    wait_for(lambda: kind in park.kinds("two"), f"{kind}; console:\n{daemon.text}", alive=daemon.process)


def test_the_command_starts_at_once_and_waits_only_for_what_is_left(park: Machines, gate: Gate) -> None:
    daemon = park.start("two", **ON)
    until(park, "started", daemon)
    until(park, "store-away", daemon)
    assert "restored" not in park.kinds("two")
    gate.opened.set()
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert "from step 25" in daemon.text
    kinds = park.kinds("two")
    assert kinds.index("started") < kinds.index("restored") < kinds.index("training-began")


def test_with_restore_first_the_command_starts_when_its_checkpoint_is_here(park: Machines, gate: Gate) -> None:
    daemon = park.start("two", "--restore-first", **ON)
    until(park, "store-away", daemon)
    assert "started" not in park.kinds("two")
    gate.opened.set()
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    kinds = park.kinds("two")
    assert kinds.index("restored") < kinds.index("started")


def test_a_stop_while_the_checkpoint_is_on_its_way_ends_with_75(park: Machines, gate: Gate) -> None:
    daemon = park.start("two", **ON)
    until(park, "started", daemon)
    assert daemon.terminate() == Exit.STOPPED, daemon.text
    gate.opened.set()
    again = park.start("three", **ON)
    assert again.wait() == Exit.COMPLETE
    assert "from step 25" in again.text


@pytest.mark.whole
def test_a_command_that_fails_before_its_checkpoint_is_here_is_started_again(
    park: Machines, gate: Gate, scratch: Path
) -> None:
    script = f'test -e {scratch}/flag || {{ touch {scratch}/flag; exit 3; }}; exec "$@"'
    command = ["sh", "-c", script, "sh", sys.executable, str(SCRIPTS / "count.py")]
    daemon = park.start("two", command=command, **ON)
    until(park, "crashed", daemon)
    gate.opened.set()
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert "from step 25" in daemon.text
    assert park.kinds("two").count("started") == 2


def test_a_command_that_waits_for_its_checkpoint_does_not_hang(park: Machines, gate: Gate) -> None:
    daemon = park.start("two", "--stall-timeout", "1", "--store-wait", "60", **ON)
    wait_for(lambda: park.kinds("two").count("store-away") >= 4, daemon.text, alive=daemon.process)
    gate.opened.set()
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert "stalled" not in park.kinds("two")


@pytest.mark.whole
def test_checkpoints_that_cannot_be_brought_end_the_command_beside_them(park: Machines, gate: Gate) -> None:
    gate.opened.set()
    remove_all_data(park)
    daemon = park.start("two", command=["sleep", "1000"])
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "none is valid" in daemon.text


def remove_all_data(park: Machines) -> None:
    store = open_store(park.store, StoreSettings(endpoint_url=park.environment["HOLDFAST_ENDPOINT_URL"]))
    for entry in store.list("00001-count/model-"):
        if entry.key.endswith(".h5"):
            store.delete(entry.key)

"""Commands that hang, and commands that only seem to, under a real ``holdfast run``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from holdfast.core.errors import Exit

from .daemons import SCRIPTS, Machines

RUN = "00001-count"
STALLS = [sys.executable, str(SCRIPTS / "stalls.py")]


@pytest.fixture
def once(tmp_path: Path) -> str:
    return str(tmp_path / "once")


def facts(park: Machines, kind: str) -> list[dict[str, Any]]:
    return [event for event in park.events("one") if event["event"] == kind]


def log(park: Machines) -> str:
    return (park.work_dir("one") / RUN / "log.txt").read_text()


def test_a_training_that_hangs_writes_its_stacks_and_is_restarted_to_its_end(local_park: Machines, once: str) -> None:
    daemon = local_park.start("one", HOLDFAST_STALL_TIMEOUT="2", command=STALLS, HOW="lock", ONCE=once)
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert "in wait_for_nobody" in log(local_park)
    assert "in _listen" in log(local_park), "the stacks of all threads"
    assert "warning: no batch, no CPU and no data for 2 s: the command hangs" in daemon.text
    assert "the command failed (it hung); starting it again" in daemon.text
    assert local_park.kinds("one").count("started") == 2
    (stacks,) = facts(local_park, "stacks")
    (began, _) = facts(local_park, "started")
    assert stacks["asked"] == 1
    (process,) = stacks["processes"]
    assert (process["pid"], process["status"]) == (began["pid"], "sleeping")
    assert process["threads"] >= 2
    executed = facts(local_park, "exited")[-1]["executed"]
    assert executed == 40 + 5, "it went on from the pair of step 20"


@pytest.mark.whole
def test_a_keras_training_hangs_in_its_data_and_not_in_what_takes_long(local_park: Machines, once: str) -> None:
    """Not in the import, the trace, XLA's compilation or the validation, which take longer than the timeout."""
    command = [sys.executable, str(SCRIPTS / "keras_stalls.py")]
    daemon = local_park.start("one", "--stall-timeout", "2", command=command, ONCE=once)
    daemon.until("starting it again")
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert local_park.kinds("one").count("stalled") == 1
    assert facts(local_park, "stacks")[0]["asked"] == 1
    assert "in wait_for_nobody" in log(local_park), "a worker's stack"
    assert "in fit" in log(local_park), "and the training's"
    assert local_park.kinds("one").count("started") == 2
    assert "10/10" in log(local_park).rpartition("Epoch 2/3")[2], "it went on with the second epoch"


@pytest.mark.whole
def test_a_stop_while_a_batch_is_waited_for_in_vain_stores_the_last_boundary(
    local_park: Machines, once: str, tmp_path: Path
) -> None:
    """As where a signal to all processes has ended those that make the batches."""
    command = [sys.executable, str(SCRIPTS / "keras_stalls.py")]
    daemon = local_park.start("one", command=command, ONCE=once)
    local_park.until_step("one", 15, daemon)
    assert daemon.terminate() == Exit.STOPPED, daemon.text
    assert "stored epoch 1, step 15 (SIGTERM" in daemon.text
    daemon = local_park.start("one", command=command, ONCE=once)
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    undisturbed = local_park.start("two", "--run", "undisturbed", command=command, ONCE=once)
    assert undisturbed.wait() == Exit.COMPLETE, undisturbed.text
    one, two = (last_metrics(local_park.work_dir(name)) for name in ("one", "two"))
    assert one == two


def last_metrics(work_dir: Path) -> Any:
    """Of the last epoch's pair, to the last digit."""
    (manifest,) = work_dir.glob("*/model-0003-*.json")
    return json.loads(manifest.read_bytes())["metrics"]


@pytest.mark.parametrize("how", [pytest.param("compute", marks=pytest.mark.whole), "read"])
def test_what_works_without_batches_does_not_hang(local_park: Machines, once: str, tmp_path: Path, how: str) -> None:
    data = tmp_path / "data"
    data.write_bytes(bytes(100_000))
    environment = {"HOW": how, "ONCE": once, "SECONDS": "5", "DATA": str(data)}
    daemon = local_park.start("one", "--stall-timeout", "2", command=STALLS, **environment)
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert "gone on" in daemon.text
    assert not facts(local_park, "stalled")


def test_a_training_that_somebody_stopped_is_woken_and_goes_on_where_it_was(local_park: Machines) -> None:
    daemon = local_park.start("one", "--stall-timeout", "5", STEPS="200", PACE="0.02")
    local_park.until_step("one", 20, daemon)
    daemon.child().suspend()
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert local_park.kinds("one").count("stalled") == 1
    assert local_park.kinds("one").count("started") == 1
    assert "most recent call first" in log(local_park)


@pytest.mark.whole
def test_a_command_that_knows_nothing_of_holdfast_is_described_and_restarted(local_park: Machines) -> None:
    command = ["/bin/sh", "-c", "echo begun; sleep 1000; :"]
    daemon = local_park.start("one", "--stall-timeout", "1", "--max-restarts", "1", command=command)
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert log(local_park).split() == ["begun", "begun"], "no stacks, and two starts"
    assert "failed again after 1 restart without progress (it hung)" in daemon.text
    stacks = facts(local_park, "stacks")
    assert [[process["name"] for process in event["processes"]] for event in stacks] == [["sh", "sleep"]] * 2
    assert [event["asked"] for event in stacks] == [0, 0]


@pytest.mark.whole
def test_a_hang_during_a_drain_is_left_to_the_drain(local_park: Machines, once: str) -> None:
    settings = ("--stall-timeout", "2", "--drain-time", "6")
    daemon = local_park.start("one", *settings, command=STALLS, HOW="lock", ONCE=once)
    daemon.until("staying")
    assert daemon.terminate() == Exit.UNSTORED, daemon.text
    assert not facts(local_park, "stalled")
    assert local_park.kinds("one").count("started") == 1


def test_a_stop_after_a_hang_was_found_leaves_nobody_behind(local_park: Machines, once: str) -> None:
    daemon = local_park.start("one", "--stall-timeout", "1", "--drain-time", "5", command=STALLS, HOW="lock", ONCE=once)
    daemon.until("staying")
    tree = psutil.Process(daemon.pid).children(recursive=True)
    daemon.until("the command hangs")
    assert daemon.terminate() == Exit.UNSTORED, daemon.text
    assert len(tree) == 2
    assert not psutil.wait_procs(tree, timeout=10)[1]

"""What a script writes under artifacts/ outlives its machine, as real processes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from holdfast.core.errors import Exit

from .conftest import on_both
from .daemons import SCRIPTS, Daemon, Machines, wait_for
from .test_run import keys

COMMAND = [sys.executable, str(SCRIPTS / "writes_artifacts.py")]
OFTEN = ("--artifacts-interval", "0.1")
BEST = "artifacts/best model @C3@BC.keras"
LOG = "artifacts/logs/lr=0.1/events.out.tfevents."


def artifacts(park: Machines, machine: str) -> dict[str, str]:
    root = park.work_dir(machine) / "00001-count" / "artifacts"
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def start(park: Machines, machine: str, *arguments: str, **environment: str) -> Daemon:
    return park.start(machine, *OFTEN, *arguments, command=COMMAND, **environment)


def test_artifacts_are_stored_while_the_training_goes_on_and_a_fresh_machine_has_them(park: Machines) -> None:
    first = start(park, "one", HOLD_AT="25")
    wait_for(lambda: BEST in keys(park) and any(key.startswith(LOG) for key in keys(park)), "the artifacts")
    park.until_step("one", 25, first)
    wait_for(lambda: "artifacts.json" in keys(park), "the index")
    os.kill(first.child().pid, signal.SIGSTOP)
    os.kill(first.pid, signal.SIGKILL)  # the machine vanishes: nobody has a last look
    first.close()
    second = start(park, "two", "--lease-expiry", "1")
    assert second.wait() == Exit.COMPLETE
    assert "best so far: step " in second.text, "it is there before the script asks for it"
    assert len([name for name in artifacts(park, "two") if "tfevents" in name]) == 2


@on_both("park")
def test_a_stop_stores_the_artifacts_last_state_and_the_end_all_of_them(park: Machines) -> None:
    first = start(park, "one", "--artifacts-interval", "600", HOLD_AT="25")
    park.until_step("one", 25, first)
    assert first.terminate() == Exit.STOPPED
    stopped = artifacts(park, "one")
    second = start(park, "two", "--artifacts-interval", "600")
    assert second.wait() == Exit.COMPLETE
    assert "best so far: step 20" in second.text
    kept = artifacts(park, "two")
    assert {name: kept[name] for name in stopped if "tfevents" in name}.items() <= stopped.items()
    assert {"complete.json", "artifacts.json", BEST} <= set(keys(park))
    assert len([key for key in keys(park) if key.startswith(LOG)]) == 2


def test_a_limit_of_0_keeps_artifacts_on_the_machine(local_park: Machines) -> None:
    assert start(local_park, "one", "--artifacts-limit", "0").wait() == Exit.COMPLETE
    assert [key for key in keys(local_park) if key.startswith("artifacts")] == []
    assert artifacts(local_park, "one")


def test_what_cannot_be_stored_does_not_make_the_run_incomplete(local_park: Machines, tmp_path: Path) -> None:
    daemon = start(local_park, "one", "--artifacts-limit", "60")
    assert daemon.wait() == Exit.COMPLETE
    assert "artifacts/: left out" in daemon.text
    assert BEST in keys(local_park)


@pytest.mark.whole
def test_a_machine_that_was_suspended_and_replaced_changes_nothing_in_the_store_when_it_wakes_up(
    local_park: Machines,
) -> None:
    """It would have an artifact to send, and another one completes the run meanwhile."""
    first = start(local_park, "one", HOLD_AT="25")
    local_park.until_step("one", 25, first)
    wait_for(lambda: "artifacts.json" in keys(local_park), "the index")
    wait_for(lambda: nothing_is_owed(local_park.kinds("one")), "every pair")
    os.kill(first.pid, signal.SIGSTOP)
    (local_park.work_dir("one") / "00001-count" / "artifacts" / "best model ü.keras").write_text("the old one's")
    assert start(local_park, "two").wait() == Exit.COMPLETE
    before = contents(local_park)
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait() == Exit.FENCED
    assert "the lease was taken over by" in first.text
    assert contents(local_park) == before


def nothing_is_owed(kinds: list[str]) -> bool:
    return kinds.count("saved") == kinds.count("stored") + kinds.count("skipped")


def contents(park: Machines) -> dict[str, bytes]:
    run = Path(park.store) / "00001-count"
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}

"""A real daemon on a machine of the template's group: what ends its costs, and what does not."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from holdfast.core.errors import Exit
from integration.daemons import wait_for

from .conftest import Site

AUTOSCALING = "autoscaling"


def test_a_complete_training_ends_its_machine_and_the_group_wants_none(site: Site) -> None:
    daemon = site.park.start("one", "--on-complete", "scale-in", "--on-failure", "none", "--lifecycle-hook", site.hook)
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert site.desired() == 0
    assert site.state() in ("shutting-down", "terminated")
    operations = [call.operation for call in site.door.made(AUTOSCALING)]
    assert operations == ["TerminateInstanceInAutoScalingGroup", "CompleteLifecycleAction"], daemon.text


@pytest.mark.whole
def test_a_machine_that_finds_the_run_complete_ends_too(site: Site) -> None:
    assert site.park.start("one").wait() == Exit.COMPLETE
    assert site.desired() == 1
    assert site.park.start("two", "--on-complete", "scale-in").wait() == Exit.COMPLETE
    assert site.desired() == 0


def test_a_stop_gives_nothing_back(site: Site) -> None:
    daemon = site.park.start(
        "one", "--on-complete", "scale-in", "--on-failure", "scale-in", "--lifecycle-hook", site.hook, HOLD_AT="20"
    )
    site.park.until_step("one", 20, daemon)
    assert daemon.terminate() == Exit.STOPPED
    assert site.desired() == 1
    assert site.state() == "running"
    assert site.door.made(AUTOSCALING) == []


def test_a_training_that_cannot_go_on_ends_its_machine(site: Site) -> None:
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    daemon = site.park.start("one", "--on-failure", "scale-in", command=command)
    assert daemon.wait() == Exit.FAILED
    assert site.desired() == 0
    assert site.state() in ("shutting-down", "terminated")


@pytest.mark.whole
def test_wrong_settings_end_the_machine_that_has_them(site: Site) -> None:
    daemon = site.park.start("one", "--on-failure", "scale-in", command=["no-such-program"])
    assert daemon.wait() == Exit.USAGE
    assert site.desired() == 0


@pytest.mark.whole
def test_a_failure_is_kept_for_a_look_unless_asked_otherwise(site: Site) -> None:
    daemon = site.park.start("one", "--on-complete", "scale-in", command=[sys.executable, "-c", "raise SystemExit(3)"])
    assert daemon.wait() == Exit.FAILED
    assert site.desired() == 1


def test_the_hook_is_completed_when_the_drain_is_stored_and_not_before(site: Site) -> None:
    daemon = site.park.start("one", "--lifecycle-hook", site.hook, "--on-complete", "scale-in", HOLD_AT="20")
    site.park.until_step("one", 20, daemon)
    site.metadata.documents["autoscaling/target-lifecycle-state"] = "Terminated"
    assert daemon.wait() == Exit.STOPPED, daemon.text
    last = site.door.calls[-1]
    assert last.operation == "CompleteLifecycleAction", daemon.text
    assert {
        ("AutoScalingGroupName", site.stack.name),
        ("InstanceId", site.instance),
        ("LifecycleActionResult", "CONTINUE"),
        ("LifecycleHookName", "holdfast-drain"),
    } <= set(last.fields)
    stored = [call.key for call in site.door.calls if call.operation == "PutObject" and "/model-" in call.key]
    assert any("-00000020-" in key and key.endswith(".json") for key in stored), "the manifest of the drain's pair"


@pytest.mark.parametrize(
    "holder",
    ["another stack", *(pytest.param(one, marks=pytest.mark.whole) for one in ("the same stack", "no stack"))],
)
def test_of_two_stacks_with_one_run_the_second_says_so_and_starts_no_machine_after_another(
    site: Site, holder: str
) -> None:
    hooks = {"another stack": ("--lifecycle-hook", "other/hook"), "the same stack": ("--lifecycle-hook", site.hook)}
    first = site.park.start("one", *hooks.get(holder, ()), HOLD_AT="20")
    site.park.until_step("one", 20, first)
    second = site.park.start("two", "--lifecycle-hook", site.hook, "--on-failure", "scale-in", "--lease-wait", "0.1")
    assert second.wait() == Exit.FENCED, second.text
    assert site.state() in ("shutting-down", "terminated")
    if holder == "the same stack":
        assert site.desired() == 1, "the holder may be this group's next machine"
        assert "outside of" not in second.text
    else:
        assert site.desired() == 0, second.text
        assert f"the run is trained outside of the Auto Scaling group {site.stack.name}, by " in second.text
        assert ("of the Auto Scaling group other (" in second.text) is (holder == "another stack")


def test_a_run_that_is_too_old_is_stored_and_ends_its_machine_for_good(site: Site) -> None:
    hours = "0.0015"  # some five seconds
    daemon = site.park.start("one", "--max-hours", hours, "--on-failure", "scale-in", HOLD_AT="20")
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "--max-hours: draining" in daemon.text
    assert "stopped for good by --max-hours; the state is in the store (exit 70)" in daemon.text
    assert "step 20 (--max-hours" in daemon.text
    assert site.desired() == 0
    site.metadata.clear()
    again = site.park.start("two", "--max-hours", hours)
    assert again.wait() == Exit.FAILED
    assert "older than --max-hours" in again.text
    assert "from step" not in again.text


@pytest.mark.whole
def test_a_command_runs_after_the_end_and_a_stop_ends_it(site: Site, scratch: Path) -> None:
    begun = scratch / "begun"
    code = f"import os, time; open({str(begun)!r}, 'w').write(os.environ['HOLDFAST_EXIT_CODE']); time.sleep(600)"
    daemon = site.park.start("one", "--on-complete", f'{sys.executable} -c "{code}"')
    wait_for(lambda: begun.exists() and begun.read_text() == "0", f"the command; {daemon.text}", alive=daemon.process)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait() == Exit.COMPLETE
    assert "asked to stop" in daemon.text


@pytest.mark.whole
def test_without_an_answer_the_exit_code_stays_and_a_warning_is_given(site: Site) -> None:
    del site.metadata.documents["instance-id"]
    daemon = site.park.start("one", "--on-complete", "scale-in")
    assert daemon.wait() == Exit.COMPLETE
    assert "warning: giving the machine back failed" in daemon.text
    assert "Auto Scaling group?" in daemon.text

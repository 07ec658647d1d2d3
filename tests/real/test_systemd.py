"""The shipped unit under a real systemd (tests/real/nspawn.py), in the moments that matter."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.errors import Exit
from holdfast.spool import Board
from integration.daemons import wait_for
from real.nspawn import UNITS, Machine, machine

pytestmark = pytest.mark.real

UNIT = "holdfast@count"
COUNT = "python /opt/scripts/count.py"
S3_PORT, SLOW_PORT = 5000, 5001
GOES_ON = ("from step 30", "from step 33")
"""After its supervisor's death the command, held at 33, saves if it is not killed before that."""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as found:
        yield found


def configure(box: Machine, training: str = COUNT, drop_in: str = "", run: str = "count", **settings: str) -> None:
    """As docs/systemd.md says: an environment file for the run, and a drop-in for what the unit should do otherwise."""
    values = {
        "TRAINING": training,
        "HOLDFAST_STORE": f"/var/lib/holdfast/{run}/store",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOLDFAST_LEASE_HEARTBEAT": "0.2",
        "HOLDFAST_LEASE_EXPIRY": "1",
        **settings,
    }
    box.write(f"/etc/holdfast/{run}.env", "".join(f'{name}="{value}"\n' for name, value in values.items()))
    if drop_in:
        box.write(f"/etc/systemd/system/holdfast@{run}.service.d/test.conf", f"[Service]\n{drop_in}\n")
        box.run("systemctl", "daemon-reload")


def folder(box: Machine, run: str = "count") -> Path:
    return box.path(f"/var/lib/private/holdfast/{run}/00001-{run}")


def events(box: Machine) -> list[dict[str, Any]]:
    path = folder(box) / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def stored(box: Machine, reason: str) -> list[str]:
    return [event["checkpoint"] for event in events(box) if event["event"] == "stored" and event["reason"] == reason]


def until(box: Machine, *texts: str) -> None:
    """Until one of them is in the journal."""
    try:
        wait_for(lambda: any(text in box.log(UNIT) for text in texts), f"{texts} in the journal")
    except AssertionError as error:
        raise AssertionError(f"{error}:\n{box.log(UNIT)}") from None


def until_step(box: Machine, step: int) -> None:
    path = folder(box) / Board.FILE
    wait_for(lambda: Board.read(path).step >= step, f"step {step}")


def until_state(box: Machine, state: str, unit: str = UNIT) -> None:
    wait_for(lambda: box.show(unit, "ActiveState") == state, f"{unit} {state}: {box.log(unit)}")


def test_it_is_active_while_it_trains_and_its_status_says_where_it_stands(box: Machine) -> None:
    configure(box, HOLD_AT="33")
    box.run("systemctl", "start", UNIT)
    assert box.show(UNIT, "ActiveState") == "active"
    wait_for(lambda: box.show(UNIT, "StatusText").startswith("epoch 2, batch 13, last stored"), "the status")
    warnings = box.log(UNIT, "--priority=warning")
    assert "holdfast:" not in warnings, "what goes well is no warning in the journal"


def test_systemctl_stop_stores_the_last_batch_and_the_unit_has_not_failed(box: Machine) -> None:
    configure(box, HOLD_AT="33", EVERY="1000")
    box.run("systemctl", "start", UNIT)
    until_step(box, 33)
    box.run("systemctl", "stop", UNIT)
    assert box.show(UNIT, "ActiveState") == "inactive", "and not failed"
    assert events(box)[-1]["code"] == Exit.STOPPED
    assert "-00000033-" in stored(box, "SIGTERM")[-1]
    assert "Scheduled restart" not in box.log(UNIT)


def test_a_stop_that_systemctl_did_not_ask_for_is_followed_by_a_restart(box: Machine) -> None:
    configure(box, HOLD_AT="33", drop_in="RestartSec=0.1")
    box.run("systemctl", "start", UNIT)
    until_step(box, 33)
    box.run("kill", "-TERM", box.show(UNIT, "MainPID"))
    until(box, "from step 33")
    assert box.show(UNIT, "NRestarts") == "1"


def test_a_supervisor_that_hangs_is_restarted_by_the_watchdog_and_the_training_goes_on(box: Machine) -> None:
    configure(box, HOLD_AT="33", PACE="0.02", drop_in="WatchdogSec=2\nRestartSec=0.1\nTimeoutAbortSec=5")
    box.run("systemctl", "start", UNIT)
    until(box, "stored epoch 1, step 30")
    hung = box.show(UNIT, "MainPID")
    box.run("kill", "-STOP", hung)
    until(box, *GOES_ON)
    assert "Watchdog timeout" in box.log(UNIT)
    assert "Fatal Python error: Aborted" in box.log(UNIT), "where it hung stands in the journal"
    assert box.show(UNIT, "MainPID") != hung
    until_step(box, 33)


def test_a_supervisor_that_is_killed_is_started_again_and_goes_on(box: Machine) -> None:
    configure(box, HOLD_AT="33", PACE="0.02", drop_in="RestartSec=0.1")
    box.run("systemctl", "start", UNIT)
    until(box, "stored epoch 1, step 30")
    box.run("kill", "-KILL", box.show(UNIT, "MainPID"))
    until(box, *GOES_ON)


def test_a_run_that_is_complete_is_not_started_again(box: Machine) -> None:
    configure(box, drop_in="RestartSec=0.1")
    box.run("systemctl", "start", UNIT)
    until_state(box, "inactive")
    box.run("systemctl", "start", UNIT)
    until(box, "nothing to do")
    until_state(box, "inactive")
    assert "Scheduled restart" not in box.log(UNIT)


def test_a_command_that_follows_the_end_may_take_longer_than_the_watchdog_waits(box: Machine) -> None:
    slow = "sh -c 'sleep 6; echo all is told >/var/lib/holdfast/count/told'"
    configure(box, drop_in="WatchdogSec=2", HOLDFAST_ON_COMPLETE=slow)
    box.run("systemctl", "start", UNIT)
    until_state(box, "inactive")
    assert "Watchdog timeout" not in box.log(UNIT)
    assert (folder(box).parent / "told").read_text() == "all is told\n"
    assert "holdfast: ran sh" in box.log(UNIT)


def test_a_stop_that_comes_while_such_a_command_runs_has_time_to_end_it(box: Machine) -> None:
    """It heeds no SIGTERM, so that its end takes longer than the stop timeout."""
    deaf = "trap : TERM; touch /var/lib/holdfast/count/begun; while :; do sleep 0.1; done"
    configure(box, drop_in="TimeoutStopSec=2", HOLDFAST_ON_COMPLETE=f"sh -c '{deaf}'")
    box.run("systemctl", "start", UNIT)
    wait_for((folder(box).parent / "begun").exists, "the command")
    box.run("systemctl", "stop", UNIT)
    assert box.show(UNIT, "ActiveState") == "inactive", box.log(UNIT)
    assert box.show(UNIT, "Result") == "success"
    assert "asked to stop" in box.log(UNIT)


def test_a_command_that_fails_is_not_started_again(box: Machine) -> None:
    configure(box, training="python -c 'import nothing_like_it'", drop_in="RestartSec=0.1")
    box.run("systemctl", "start", UNIT, check=False)
    until_state(box, "failed")
    assert box.show(UNIT, "ExecMainStatus") == str(int(Exit.FAILED))
    assert box.show(UNIT, "NRestarts") == "0"


def test_a_training_that_crashes_is_started_again_by_the_supervisor_and_not_by_systemd(box: Machine) -> None:
    configure(box, CRASH_AT="33", CRASHED="/var/lib/holdfast/count/crashed", PACE="0.02")
    box.run("systemctl", "start", UNIT)
    until_state(box, "inactive")
    assert "from step 30" in box.log(UNIT)
    assert [event["event"] for event in events(box)].count("started") == 2
    assert box.show(UNIT, "NRestarts") == "0"
    assert events(box)[-1]["code"] == Exit.COMPLETE


def test_a_run_that_another_machine_holds_is_not_tried_again_and_again(box: Machine) -> None:
    settings = with_slow_s3(box)
    words = [
        *(f"--setenv={name}={value}" for name, value in settings.items()),
        "--setenv=AWS_EC2_METADATA_DISABLED=true",
    ]
    holder = [
        "/opt/holdfast/bin/holdfast",
        "run",
        "--run",
        "count",
        "--work-dir",
        "/var/lib/holder",
        "--",
        "sleep",
        "1000",
    ]
    box.run("systemd-run", "--unit=holder", *words, *holder)
    wait_for(box.path("/var/lib/holder/00001-count/log.txt").exists, "the holder")
    configure(box, drop_in="RestartSec=0.1", HOLDFAST_LEASE_WAIT="1", **settings)
    box.run("systemctl", "start", UNIT)
    until_state(box, "failed")
    assert box.show(UNIT, "ExecMainStatus") == str(int(Exit.FENCED))
    assert box.show(UNIT, "NRestarts") == "0"


def test_without_a_command_the_start_fails_with_one_line_that_says_so(box: Machine) -> None:
    assert "failed" in box.run("systemctl", "start", "holdfast@nothing", check=False)
    until_state(box, "failed", "holdfast@nothing")
    assert box.show("holdfast@nothing", "ExecMainStatus") == str(int(Exit.USAGE))
    assert box.show("holdfast@nothing", "NRestarts") == "0"
    assert "--store" in box.log("holdfast@nothing", "--priority=err")


def test_what_a_drain_could_not_store_is_stored_by_the_restart(box: Machine) -> None:
    configure(box, HOLD_AT="33", EVERY="1000", HOLDFAST_DRAIN_TIME="3", drop_in="RestartSec=5")
    box.run("systemctl", "start", UNIT)
    until_step(box, 33)
    store = folder(box).parent / "store"
    away = store.rename(store.with_name("away"))
    store.write_text("not a directory")
    box.run("kill", "-TERM", box.show(UNIT, "MainPID"))
    wait_for(lambda: any(event.get("code") == Exit.UNSTORED for event in events(box)), "exit 74")
    store.unlink()
    away.rename(store)
    until(box, "stored epoch 1, step 33 (left over")


def test_a_training_that_hangs_under_the_hardened_unit_writes_its_stacks_to_the_journal(box: Machine) -> None:
    """What a process uses, and what it catches, is seen there as well."""
    settings = {"HOW": "lock", "ONCE": "/var/lib/holdfast/count/once", "HOLDFAST_STALL_TIMEOUT": "2"}
    configure(box, "python /opt/scripts/stalls.py", **settings)
    box.run("systemctl", "start", UNIT)
    until_state(box, "inactive")
    assert "in wait_for_nobody" in box.log(UNIT)
    assert "the command hangs" in box.log(UNIT, "--priority=warning")
    assert [event["event"] for event in events(box)].count("started") == 2
    assert events(box)[-1]["code"] == Exit.COMPLETE


def with_slow_s3(box: Machine) -> dict[str, str]:
    """Starts an S3 server behind a slow link. When the machine's network goes, both are gone."""
    moto = f"/opt/holdfast/bin/python -m moto.server -H 127.0.0.1 -p {S3_PORT}"
    link = f"/opt/holdfast/bin/python /opt/scripts/slow_link.py {SLOW_PORT} {S3_PORT} 100000"
    for name, command, stop in (("s3", moto, "/bin/true"), ("network", link, "/bin/sh -c 'ip link set lo down'")):
        text = f"[Unit]\nBefore=network-online.target\n[Service]\nExecStart={command}\nExecStop={stop}\n"
        box.write(f"/etc/systemd/system/{name}.service", text)
        box.run("systemctl", "add-wants", "network-online.target", f"{name}.service")
    box.run("systemctl", "start", "network-online.target")
    make = f"import boto3; boto3.client('s3', endpoint_url='http://127.0.0.1:{SLOW_PORT}').create_bucket(Bucket='runs')"
    words = [*(f"{name}={value}" for name, value in CREDENTIALS.items()), "/opt/holdfast/bin/python", "-c", make]
    wait_for(lambda: box.run("env", *words, check=False) == "", "a bucket")
    return {
        **CREDENTIALS,
        "HOLDFAST_STORE": "s3://runs/count",
        "HOLDFAST_ENDPOINT_URL": f"http://127.0.0.1:{SLOW_PORT}",
    }


def test_poweroff_waits_for_a_slow_drain_and_keeps_the_network_until_it_is_stored(box: Machine) -> None:
    """The stop timeout is far too short: it is the extension that makes room."""
    settings = with_slow_s3(box)
    configure(box, HOLD_AT="33", EVERY="1000", SIZE="60000", drop_in="TimeoutStopSec=2", **settings)
    box.run("systemctl", "start", UNIT)
    until_step(box, 33)
    box.power_off()
    (saved,) = [event for event in events(box) if event["event"] == "stored"]
    assert "-00000033-" in saved["checkpoint"]
    assert saved["seconds"] > 3, "longer than the stop timeout"
    assert events(box)[-1]["code"] == Exit.STOPPED


@pytest.mark.parametrize(
    ("training", "settings", "proof"),
    [
        ("python -m holdfast.examples.digits --epochs 1", {}, "evaluation: loss"),
        ("python /opt/scripts/keras_fit.py", {"JIT": "1"}, "compiled by XLA: True"),
    ],
    ids=["digits", "jit"],
)
def test_tensorflow_trains_under_the_hardened_unit(
    box: Machine, training: str, settings: dict[str, str], proof: str
) -> None:
    configure(box, training, **settings)
    box.run("systemctl", "start", UNIT)
    until_state(box, "inactive")
    assert proof in box.log(UNIT)
    assert (folder(box).parent / "store" / "00001-count" / "complete.json").exists()


def test_the_unit_and_its_drop_ins_have_no_unknown_settings(box: Machine) -> None:
    """systemd-analyze verify exits with 0 for an unknown key: what counts is that it prints nothing."""
    path = "/etc/systemd/system/holdfast@count.service"
    assert box.run("systemd-analyze", "verify", path) == ""
    gpus = (UNITS / "holdfast-gpu.service").read_text().replace("nvidia-smi", "true")  # there is none here
    box.write("/etc/systemd/system/holdfast-gpu.service", gpus)
    assert box.run("systemd-analyze", "verify", "/etc/systemd/system/holdfast-gpu.service") == ""
    for drop_in in UNITS.glob("*.conf"):
        box.write(f"/etc/systemd/system/holdfast@.service.d/{drop_in.name}", drop_in.read_text())
        assert box.run("systemd-analyze", "verify", path) == ""


@pytest.mark.parametrize("drop_ins", [[], ["gpu.conf"]], ids=["as-shipped", "gpu"])
def test_the_units_exposure_is_at_most_three(tmp_path: Path, drop_ins: list[str]) -> None:
    unit = tmp_path / "holdfast@.service"
    unit.write_text("\n".join((UNITS / name).read_text() for name in ["holdfast@.service", *drop_ins]))
    words = ["systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager", str(unit)]
    rated = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert rated.returncode == 0, rated.stdout
    assert "Overall exposure level" in rated.stdout

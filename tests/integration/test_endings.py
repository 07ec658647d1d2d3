"""What follows the end of a run, by real daemons: the commands of ``--on-complete`` and ``--on-failure``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.manager import Manager
from holdfast.core.errors import Exit

from .daemons import Machines, wait_for


def python(code: str) -> str:
    return f'{sys.executable} -c "{code}"'


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import time; time.sleep(1.5); raise SystemExit(3)", "failed (exit 3)"),  # the reaper looks every second
        ("import os; os.kill(os.getpid(), 9)", "failed (killed by SIGKILL)"),
        ("pass", "holdfast: ran"),
    ],
)
def test_the_end_of_the_command_is_told_as_it_was(local_park: Machines, code: str, said: str) -> None:
    """The reaper of the supervisor is there all the time, and takes every status."""
    daemon = local_park.start("one", "--on-complete", python(code))
    assert daemon.wait() == Exit.COMPLETE, "it changes nothing"
    assert said in daemon.text


def test_a_command_after_wrong_settings_is_told_as_it_ended_too(local_park: Machines) -> None:
    """There was no supervisor, and so no reaper."""
    failing = python("import os, sys; sys.exit(int(os.environ['HOLDFAST_EXIT_CODE']) - 70)")
    daemon = local_park.start("one", "--on-failure", failing, command=["no-such-program"])
    assert daemon.wait() == Exit.USAGE
    assert "failed (exit 8)" in daemon.text


def test_the_command_has_the_default_signals_and_a_session_of_its_own(local_park: Machines, scratch: Path) -> None:
    found = scratch / "found"
    code = "import os; print(os.getpid() == os.getsid(0), open('/proc/self/status').read(), file=open('{}', 'w'))"
    assert local_park.start("one", "--on-complete", python(code.format(found))).wait() == Exit.COMPLETE
    own, _, status = found.read_text().partition(" ")
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    assert own == "True"
    assert int(masks["SigBlk"], 16) == 0
    python_ignores = 1 << 12 | 1 << 24  # SIGPIPE and SIGXFSZ, by itself
    standard = (1 << 31) - 1  # those above belong to the C library
    assert int(masks["SigIgn"], 16) & standard & ~python_ignores == 0


def test_the_watchdog_is_fed_as_long_as_the_command_runs(local_park: Machines, tmp_path: Path, scratch: Path) -> None:
    begun, go = scratch / "begun", scratch / "go"
    waiting = f"/bin/sh -c 'touch {begun}; for i in $(seq 600); do [ -e {go} ] && exit; sleep 0.05; done'"
    with contextlib.closing(Manager(f"{tmp_path}/notify")) as manager:
        watched = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000000"}
        daemon = local_park.start("one", "--on-complete", waiting, **watched)
        wait_for(begun.exists, f"the command; {daemon.text}", alive=daemon.process)
        manager.heard()
        lines: list[str] = []

        def fed() -> bool:
            lines.extend(manager.heard())
            return lines.count("WATCHDOG=1") >= 4

        wait_for(fed, "two seconds' food", alive=daemon.process, patience=20)
        go.touch()
        assert daemon.wait() == Exit.COMPLETE
    assert "EXTEND_TIMEOUT_USEC=20000000" in lines
    assert "holdfast: ran" in daemon.text


@contextlib.contextmanager
def store_away(park: Machines) -> Iterator[None]:
    store = Path(park.store)
    away = store.rename(store.with_name("away"))
    store.write_text("not a directory")
    yield
    store.unlink()
    away.rename(store)


@pytest.mark.whole
def test_a_last_state_that_could_not_be_stored_keeps_its_machine_until_it_is(local_park: Machines) -> None:
    """However old the run is, and whatever is wrong with the store or the settings meanwhile."""
    limits = ("--max-hours", "0.003", "--drain-time", "2", "--on-failure", "scale-in")  # some eleven seconds
    first = local_park.start("one", *limits, HOLD_AT="33", EVERY="1000")
    local_park.until_step("one", 33, first)
    with store_away(local_park):
        assert first.wait() == Exit.UNSTORED
        assert "step 33" not in first.text
        unreached = ("--store", "s3://bucket/runs", "--endpoint-url", "http://127.0.0.1:9")
        away = local_park.start("one", *limits, *unreached)
        assert away.wait() == Exit.UNSTORED, "no wrong setting, where a state waits for it"
        wrong = local_park.start("one", *limits, command=["no-such-program"])
        assert wrong.wait() == Exit.USAGE
        for daemon in (first, away, wrong):
            assert "this machine is kept: the last checkpoint" in daemon.text
            assert "giving the machine back" not in daemon.text
    last = local_park.start("one", *limits)
    assert last.wait() == Exit.FAILED
    assert "older than --max-hours" in last.text
    assert "stored epoch 1, step 33 (left over" in last.text
    assert "from step" not in last.text, "nothing is trained any more"
    assert "giving the machine back" in last.text

from __future__ import annotations

import itertools
import secrets
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from fakes.aws import Call, Door
from fakes.stored import name_of
from holdfast.core.policy import LeaseTimes
from holdfast.supervisor.restore.lease import Lease

from .commands import PATIENCE, Cli
from .conftest import on_both
from .forks import Forks


def filled(cli: Cli, name: str = "digits", number: int = 1) -> None:
    run = cli.run(name, number)
    run.pairs(1, 2)
    run.orphan(name_of(3))
    run.file("artifacts/logs/train/events.1", b"x")
    run.lease("released")
    run.finish()


@on_both("cli")
def test_a_run_is_removed_with_all_that_it_has_and_no_other(cli: Cli) -> None:
    filled(cli)
    filled(cli, "other", 2)
    size = cli.json("ls", "digits")["size"]
    found = cli.json("rm", "digits", "--yes")
    assert (found["store"], found["run"]) == (cli.uri, "00001-digits")
    assert found["size"] == size, "as it asks"
    assert [run["run"] for run in cli.json("ls")["runs"]] == ["00002-other"]
    assert cli.store.list("00001-digits/") == []
    assert "there is no run 'digits'" in cli.refused("rm", "digits", "--yes")
    assert "00002-other: removed, " in cli.call("rm", "00002-other", "--yes").stderr
    assert cli.json("ls")["runs"] == []


def test_a_directory_keeps_no_folder_of_it(local_cli: Cli) -> None:
    filled(local_cli)
    local_cli.good("rm", "digits", "--yes")
    assert {path.name for path in Path(local_cli.uri).iterdir()} <= {".store-lock"}


def test_without_yes_it_asks_and_where_nobody_can_answer_it_removes_nothing(local_cli: Cli) -> None:
    filled(local_cli)
    asked = local_cli.refused("rm", "digits")
    assert f"00001-digits in {local_cli.uri} is complete, with 2 checkpoints and " in asked
    assert "give --yes to remove it" in asked
    shown = local_cli.on_terminal("rm", "digits", columns=100, typed="n\n", code=75)
    assert "Remove it for good? [y/N]" in shown
    assert "nothing was removed" in shown
    assert len(local_cli.json("ls", "digits")["checkpoints"]) == 2
    assert "00001-digits: removed" in local_cli.on_terminal("rm", "digits", columns=100, typed="y\n")


def test_a_run_that_a_machine_works_on_is_refused(cli: Cli) -> None:
    filled(cli)
    cli.store.delete("00001-digits/lease.json")
    lost: list[str] = []
    holder = Lease(cli.store, "00001-digits/lease.json", secrets.token_hex(4), LeaseTimes(0.2, 5.0, 1.0), lost.append)
    holder.acquire(1, threading.Event(), lambda who: None)
    holder.keep()
    try:
        refused = cli.refused("rm", "digits", "--yes")
    finally:
        holder.release()
    assert "00001-digits is held by " in refused
    assert "stop that one first; nothing was removed" in refused
    assert lost == []
    assert len(cli.json("ls", "digits")["checkpoints"]) == 2
    cli.good("rm", "digits", "--yes")


def test_a_holder_that_is_silent_for_longer_than_the_expiry_is_dead(local_cli: Cli) -> None:
    filled(local_cli)
    local_cli.run("other", 2).lease("held")
    done = local_cli.call("rm", "other", "--yes", "--lease-expiry", "0.5")
    assert done.returncode == 0, done.stderr
    assert "looking whether that one still renews its lease" in done.stderr
    assert [run["run"] for run in local_cli.json("ls")["runs"]] == ["00001-digits"]


@pytest.mark.parametrize(
    "deletions", [pytest.param(1, marks=pytest.mark.whole), 4, pytest.param(8, marks=pytest.mark.whole)]
)
def test_a_removal_that_was_killed_is_finished_by_the_same_command(
    bucket: str, s3_server: str, scratch: Path, forked: Forks, deletions: int
) -> None:
    """Its lease is a dead holder's then, and is waited out."""
    killed: list[subprocess.Popen[bytes]] = []
    seen = itertools.count(1)

    def watch(call: Call) -> bool:
        if call.operation == "DeleteObject" and "probe" not in call.key and next(seen) == deletions:
            killed[0].kill()
            return True
        return False

    with Door(s3_server, watch) as door:
        cli = Cli(f"s3://{bucket}/runs", scratch, forked, {"HOLDFAST_ENDPOINT_URL": s3_server})
        filled(cli)
        words = cli.words("rm", "digits", "--yes", "--lease-expiry", "1", "--endpoint-url", door.endpoint)
        killed.append(subprocess.Popen(words, env=cli.variables(), stderr=subprocess.DEVNULL))
        assert killed[0].wait(PATIENCE) == -signal.SIGKILL
    assert cli.json("ls", "digits")["complete"]
    cli.good("rm", "digits", "--yes", "--lease-expiry", "1")
    assert cli.store.list("") == []


def test_what_is_left_is_said(local_cli: Cli) -> None:
    filled(local_cli)
    Path(local_cli.uri, "00001-digits", "my notes: all").write_text("mine")
    refused = local_cli.refused("rm", "digits", "--yes", code=70)
    assert "1 object of 00001-digits could not be removed (00001-digits/my notes: all)" in refused

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.stored import name_of

from .commands import PATIENCE, Cli
from .conftest import on_both

LONG = "a-name-of-a-run-that-is-as-long-as-they-may-ever-become-63-char"


@on_both("cli")
def test_runs_are_listed_newest_first(cli: Cli) -> None:
    cli.run("digits", 1).pairs(1, 2)
    cli.run("other", 2).finish()
    listed = cli.json("ls")
    assert listed["store"] == cli.uri
    assert [run["run"] for run in listed["runs"]] == ["00002-other", "00001-digits"]
    dates = {key: listed["runs"][0].pop(key) for key in ("begun", "changed")}
    assert [datetime.now(UTC) - datetime.fromisoformat(date) < timedelta(minutes=5) for date in dates.values()] == [
        True
    ] * 2
    assert listed["runs"][0] == {
        "run": "00002-other",
        "number": 2,
        "name": "other",
        "complete": True,
        "pairs": 0,
        "newest": None,
        "size": 4,
    }
    assert listed["runs"][1]["newest"]["name"] == str(name_of(2))


def test_checkpoints_are_listed_newest_first_with_what_their_names_and_sizes_tell(cli: Cli) -> None:
    run = cli.run()
    manifest = run.pair(name_of(1))
    run.pair(name_of(2, loss=float("nan")))
    run.pair(name_of(3, incarnation=2, loss=None))
    run.damage(name_of(3, incarnation=2, loss=None), "pkl", None)
    run.orphan(name_of(4, incarnation=2))
    listed = cli.json("ls", "digits")
    newest, diverged, first = listed["checkpoints"]
    stored = datetime.fromisoformat(first.pop("stored"))
    assert datetime.fromisoformat(listed["begun"]) <= stored <= datetime.fromisoformat(listed["changed"])
    assert first == {
        "name": str(name_of(1)),
        "epoch": 1,
        "step": 10,
        "loss": 0.5,
        "finite": True,
        "incarnation": 1,
        "save": 1,
        "size": manifest.size,
        "missing": [],
        "fit": 1,
    }
    assert (diverged["loss"], diverged["finite"]) == (None, False)
    assert (newest["loss"], newest["finite"], newest["missing"]) == (None, True, ["pkl"])
    assert [orphan["name"] for orphan in listed["orphans"]] == [str(name_of(4, incarnation=2))]
    assert (listed["run"], listed["complete"]) == ("00001-digits", False)


def test_a_run_of_several_fits_says_which_one_a_checkpoint_is_of(local_cli: Cli) -> None:
    run = local_cli.run()
    run.pairs(1, 2, 3)
    assert local_cli.good("ls", "digits").split()[0] == "epoch"
    for save, fit in ((3, 2), (1, None)):
        manifest = json.loads(run.store.get(run.key(name_of(save), "json"))[0])
        run.damage(name_of(save), "json", b"{" if fit is None else json.dumps({**manifest, "fit": fit}).encode())
    assert [one["fit"] for one in local_cli.json("ls", "digits")["checkpoints"]] == [2, 1, None]
    head, *rows = (line.split() for line in local_cli.good("ls", "digits").splitlines())
    assert head[:2] == ["fit", "epoch"]
    assert [row[:2] for row in rows] == [["2", "3"], ["1", "2"], ["-", "1"]]


def test_a_run_is_found_by_its_name_or_by_its_id(local_cli: Cli) -> None:
    local_cli.run("digits", 1).pairs(1)
    local_cli.run("digits", 2).pairs(1, 2)
    assert local_cli.json("ls", "digits")["run"] == "00002-digits"
    assert local_cli.json("ls", "00001-digits")["run"] == "00001-digits"


def test_the_run_of_the_environment_does_not_narrow_the_list_of_runs(local_cli: Cli) -> None:
    local_cli.run("digits", 1)
    local_cli.run("other", 2)
    assert "00001-digits" in local_cli.good("ls", HOLDFAST_RUN="other")


def test_dates_are_shown_in_this_machines_time_zone(local_cli: Cli) -> None:
    run = local_cli.run()
    run.pairs(1)
    for path in Path(local_cli.uri).rglob("*"):
        os.utime(path, (1_795_364_226, 1_795_364_226))  # 2026-11-22T16:17:06Z

    def shown(*words: str, zone: str) -> str:
        """Of a process that finds its zone at its start."""
        environment = local_cli.variables(TZ=zone)
        return subprocess.run(
            local_cli.words(*words), env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert shown("ls", zone="Asia/Tokyo").splitlines()[1].endswith("2026-11-23 01:17  2026-11-23 01:17")
    assert "2026-11-22 16:17" in shown("ls", "digits", zone="UTC")
    assert local_cli.json("ls", "digits")["checkpoints"][0]["stored"] == "2026-11-22T16:17:06+00:00"


def test_a_run_that_may_be_over_or_not_is_only_called_not_complete(local_cli: Cli) -> None:
    """Listings do not tell a training from one that failed."""
    local_cli.run().pairs(1)
    done = local_cli.call("ls", "digits")
    assert "00001-digits is not complete: 1 checkpoint" in done.stderr
    assert "00001-digits  not complete  " in local_cli.good("ls")


def test_in_a_pipe_nothing_is_cut_wrapped_or_coloured(local_cli: Cli) -> None:
    local_cli.run(LONG).pairs(1)
    lines = local_cli.good("ls").splitlines()
    assert [line.split()[0] for line in lines] == ["run", f"00001-{LONG}"]
    assert "\x1b" not in local_cli.good("ls", LONG)


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_a_table_that_fits_it(local_cli: Cli, columns: int) -> None:
    local_cli.run(LONG).pairs(1)
    for words in (("ls",), ("ls", LONG)):
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", local_cli.on_terminal(*words, columns=columns))
        assert "─" in shown
        assert max(len(line) for line in shown.splitlines() if not line.startswith("holdfast: ")) <= columns
        assert "…" not in shown


def test_no_color_is_honoured(local_cli: Cli) -> None:
    local_cli.run().pairs(1)
    shown = local_cli.on_terminal("ls", columns=80, NO_COLOR="1")
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", shown) is None


def test_a_run_that_is_not_there_is_one_line_and_exit_78(cli: Cli) -> None:
    cli.run("digits")
    assert "no run 'nope'" in cli.refused("ls", "nope")
    assert "it has digits" in cli.refused("ls", "00002-digits")


def test_an_empty_store_is_said_to_be_so_and_is_no_error(local_cli: Cli) -> None:
    Path(local_cli.uri).mkdir()
    assert local_cli.good("ls") == ""
    assert local_cli.json("ls") == {"store": local_cli.uri, "runs": []}


@pytest.mark.parametrize("words", ["ls", "ls digits", "verify", "pull", "prune digits --keep-last 1"])
def test_a_store_that_is_no_folder_is_a_wrong_setting_and_no_empty_store(local_cli: Cli, words: str) -> None:
    assert "correct --store" in local_cli.refused(*words.split())
    assert not Path(local_cli.uri).exists()
    Path(local_cli.uri).touch()
    assert "correct --store" in local_cli.refused(*words.split())


def test_a_store_that_fails_is_one_line(local_cli: Cli, s3_server: str) -> None:
    local_cli.environment["HOLDFAST_ENDPOINT_URL"] = s3_server
    local_cli.uri = "s3://no-such-bucket/x"
    assert "'no-such-bucket' does not exist" in local_cli.refused("ls")
    local_cli.environment["HOLDFAST_ENDPOINT_URL"] = "http://127.0.0.1:9"
    assert "127.0.0.1:9" in local_cli.refused("ls", code=74)


def test_a_reader_that_has_seen_enough_is_no_error(local_cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "store" / "00001-many"
    folder.mkdir(parents=True)
    for save in range(1, 10_001):
        (folder / name_of(save).file("json")).touch()
    process = subprocess.Popen(
        local_cli.words("ls", "many"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=local_cli.variables(),
    )
    assert process.stdout is not None
    assert process.stdout.readline().split()[0] == "epoch"
    process.stdout.close()
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_an_interrupt_ends_it_with_one_line(local_cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the request and never answers
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        process = subprocess.Popen(
            local_cli.words("ls", "--store", "s3://some-bucket", "--endpoint-url", endpoint),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=local_cli.variables(),
        )
        connection, _ = server.accept()
        connection.recv(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        connection.close()
    assert process.returncode == 75
    assert errors.split("\n") == ["", "holdfast: error: interrupted", ""]  # the terminal shows ^C before it

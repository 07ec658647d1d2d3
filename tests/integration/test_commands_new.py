from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .commands import Cli
from .conftest import on_both


def test_the_next_run_id_is_allotted_and_printed_alone(cli: Cli) -> None:
    assert cli.good("new", "digits") == "00001-digits\n"
    assert cli.good("new", "digits") == "00002-digits\n"
    assert cli.json("new", "other") == {"store": cli.uri, "run": "00003-other", "number": 3, "name": "other"}
    assert [run["run"] for run in cli.json("ls")["runs"]] == ["00003-other", "00002-digits", "00001-digits"]


@on_both("cli")
def test_runs_that_are_allotted_at_once_get_ids_of_their_own(cli: Cli) -> None:
    with ThreadPoolExecutor(4) as pool:
        allotted = list(pool.map(lambda _: cli.good("new", "digits"), range(4)))
    assert sorted(allotted) == [f"0000{number}-digits\n" for number in (1, 2, 3, 4)]


def test_a_name_that_cannot_be_is_refused(local_cli: Cli) -> None:
    assert "error: NAME '../up': a run's name starts with" in local_cli.refused("new", "../up")
    assert "give its name alone" in local_cli.refused("new", "00001-digits")
    assert "NAME" in local_cli.refused("new")


def test_a_store_that_is_a_file_is_refused(local_cli: Cli) -> None:
    Path(local_cli.uri).touch()
    assert f"--store {local_cli.uri}: it is not a folder" in local_cli.refused("new", "digits")

from __future__ import annotations

import itertools
import json
import signal
from datetime import datetime
from pathlib import Path

import pytest

from fakes.told import Told
from holdfast.core.errors import Exit

from .commands import Cli
from .conftest import on_both
from .daemons import Machines


def tell(cli: Cli, folder: Path) -> Told:
    told = Told(cli.run(), folder)
    told.interrupted(150)
    told.killed(170)
    told.completed()
    return told


@on_both("cli")
def test_a_run_is_reported_from_the_store_alone(cli: Cli, tmp_path: Path) -> None:
    tell(cli, tmp_path)
    page = tmp_path / "digits.html"
    lines = cli.good("report", "digits", "--html", str(page), "--price-spot", "0.3").splitlines()
    assert lines[0] == (
        "00001-digits is complete: 3 starts on 3 machines, 2 interruptions, 0 batches lost, at least 20 done twice"
    )
    assert lines[1].startswith("goodput: ")
    assert lines[3].startswith("cost: ")
    assert lines[-1].endswith("; at least 20 batches done again")
    assert page.read_text().startswith("<!doctype html>")
    found = cli.json("report", "digits", "--price-on-demand", "1")
    assert (found["format"], found["run"], found["state"], found["starts"]) == (1, "00001-digits", "complete", 3)
    assert found["cost"]["on_demand"] > 0


def test_prices_may_stand_in_the_settings_file_and_the_newest_run_is_meant_where_none_is_named(
    local_cli: Cli, tmp_path: Path
) -> None:
    tell(local_cli, tmp_path)
    (tmp_path / "holdfast.toml").write_text("price-spot = 0.5\nprice-on-demand = 2\n")
    found = json.loads(local_cli.good("report", "--config", str(tmp_path / "holdfast.toml"), "--json"))
    assert (found["cost"]["price_spot"], found["cost"]["price_on_demand"]) == (0.5, 2.0)


def test_of_a_training_that_began_just_now_the_goodput_is_not_known_yet_and_what_took_no_time_is_left_out(
    local_cli: Cli, tmp_path: Path
) -> None:
    Told(local_cli.run(), tmp_path, batch_seconds=0.1).goes_on(3)
    lines = local_cli.good("report", "digits").splitlines()
    assert lines[1:] == ["goodput: not known yet", "time: start-up 6 s, restore 4 s, waiting 5 s"]


def test_what_cannot_be_done_is_one_line(local_cli: Cli, tmp_path: Path) -> None:
    tell(local_cli, tmp_path)
    assert "there is no run 'other'" in local_cli.refused("report", "other")
    page = str(tmp_path / "missing" / "page.html")
    assert f"--html {page}: No such file or directory" in local_cli.refused("report", "--html", page)
    assert "price" in local_cli.refused("report", "--price-spot", "-1")


@pytest.mark.parametrize("interruptions", [2, pytest.param(10, marks=pytest.mark.whole)])
def test_the_batches_of_real_daemons_are_those_that_their_script_counted(
    local_cli: Cli, local_park: Machines, tmp_path: Path, interruptions: int
) -> None:
    """One machine whose disk stays: a stop by SIGTERM, then a death by SIGKILL, and so on. Pairs are 10 steps apart."""
    log, given = tmp_path / "steps", {"STEPS": str(20 + 15 * interruptions)}
    for number in range(interruptions):
        hold_at = 13 + 15 * number
        daemon = local_park.start("one", **given, HOLD_AT=str(hold_at), LOG=str(log))
        local_park.until_step("one", hold_at, daemon)
        daemon.process.send_signal(signal.SIGKILL if number % 2 else signal.SIGTERM)
        daemon.wait()
    assert local_park.start("one", **given, LOG=str(log)).wait() == Exit.COMPLETE
    found = local_cli.json("report", "count")
    steps = log.read_text().split()
    assert (found["state"], found["starts"], len(found["interruptions"])) == (
        "complete",
        interruptions + 1,
        interruptions,
    )
    assert found["batches"] == {
        "executed": len(steps),
        "again": len(steps) - len(set(steps)),
        "step": len(set(steps)),
        "lost": 0,
        "at_least": [],
    }
    told = found["interruptions"]
    assert [one["exit_code"] for one in told] == [None if number % 2 else 75 for number in range(interruptions)]
    assert [one["again"] > 0 for one in told] == [bool(number % 2) for number in range(interruptions)]
    assert sum(one["again"] for one in told) == found["batches"]["again"]
    assert [lane["incarnation"] for lane in found["lanes"]] == [*range(1, interruptions + 2)]
    assert all("productive" in {kind for kind, *_ in lane["spans"]} for lane in found["lanes"][::2])
    walls = []
    for incarnation in range(1, interruptions + 2):
        lines = local_cli.store.get(f"00001-count/events-i{incarnation}.jsonl")[0].splitlines()
        events = [json.loads(line) for line in lines]
        assert [event["incarnation"] for event in events if event["event"] == "lease"] == [incarnation]
        times = [datetime.fromisoformat(event["at"]).timestamp() for event in events]
        walls.append((min(times), max(times)))
    machines = sum(end - begin for begin, end in walls)
    gaps = sum(max(0.0, following - end) for (_, end), (following, _) in itertools.pairwise(walls))
    seconds = found["seconds"]
    assert sum(value for kind, value in seconds.items() if kind != "gap") == pytest.approx(machines, abs=0.1)
    assert seconds.get("gap", 0.0) == pytest.approx(gaps, abs=0.1)
    assert found["goodput"]["runtime"] == pytest.approx(seconds["productive"] / machines, rel=0.01)

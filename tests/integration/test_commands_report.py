from __future__ import annotations

import itertools
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fakes.told import Told
from holdfast.core.errors import Exit
from holdfast.core.history.spans import KINDS

from .commands import Cli
from .conftest import on_both
from .daemons import Daemon, Machines, wait_for


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
    """One machine whose disk stays: a stop by SIGTERM, then a death by SIGKILL, and so on. Pairs are 10 steps apart.

    A training whose supervisor dies may store a pair before its guardian ends it: here it has no time for that.
    """
    log, given = tmp_path / "steps", {"STEPS": str(20 + 15 * interruptions), "PACE": "0.01"}
    for number in range(interruptions):
        hold_at = 13 + 15 * number
        daemon = local_park.start("one", **given, HOLD_AT=str(hold_at), LOG=str(log))
        local_park.until_step("one", hold_at, daemon)
        if number % 2:
            kill(daemon)
        else:
            daemon.terminate()
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
    walls: list[tuple[float, float]] = []
    for incarnation in range(1, interruptions + 2):
        lines = local_cli.store.get(f"00001-count/events-i{incarnation}.jsonl")[0].splitlines()
        events = [json.loads(line) for line in lines]
        assert [event["incarnation"] for event in events if event["event"] == "lease"] == [incarnation]
        times = [datetime.fromisoformat(event["at"]).timestamp() for event in events]
        for beat in (event for event in events if event["event"] == "last-heartbeat"):
            began, end = walls[beat["incarnation"] - 1]
            walls[beat["incarnation"] - 1] = began, max(end, beat["seen"])
        walls.append((min(times), max(times)))
    machines = sum(end - begin for begin, end in walls)
    gaps = sum(max(0.0, following - end) for (_, end), (following, _) in itertools.pairwise(walls))
    seconds = found["seconds"]
    assert sum(value for kind, value in seconds.items() if kind != "gap") == pytest.approx(machines, abs=0.1)
    assert seconds.get("gap", 0.0) == pytest.approx(gaps, abs=0.1)
    assert found["goodput"]["runtime"] == pytest.approx(seconds["productive"] / machines, rel=0.01)


def kill(daemon: Daemon) -> None:
    """As a machine that vanishes: the training can do nothing more."""
    daemon.child().suspend()
    daemon.process.kill()
    daemon.wait()


BEGINS = {
    "lease": "restore",
    "restored": "startup",
    "fresh": "startup",
    "training-began": "productive",
    "training-finished": "after",
    "draining": "drain",
    "exited": "saving",
}


def classified(events: list[dict[str, Any]], until: float | None) -> dict[str, float]:
    """What the time of a start went into, by its raw events; ``until`` is the last heartbeat of its lease."""
    times = [datetime.fromisoformat(event["at"]).timestamp() for event in events]
    seconds: dict[str, float] = {}
    kind, since = "waiting", times[0]
    for event, at in [*zip(events, times, strict=True), ({"event": ""}, max(times[-1], until or 0.0))]:
        seconds[kind], since = seconds.get(kind, 0.0) + at - since, at
        kind = BEGINS.get(event.get("phase", event["event"]), kind)
    return seconds


def test_of_machines_that_vanish_with_their_disks_the_page_has_the_times_and_batches_that_passed(
    local_cli: Cli, local_park: Machines, tmp_path: Path
) -> None:
    """The first vanishes before it stored the events of its training, the second is stopped, the third completes it."""
    for number, machine in enumerate(("one", "two")):
        hold_at = 25 + 20 * number
        log = str(tmp_path / machine)
        daemon = local_park.start(machine, STEPS="60", PACE="0.02", HOLD_AT=str(hold_at), LOG=log)
        local_park.until_step(machine, hold_at, daemon)
        if machine == "one":
            wait_for(lambda step=hold_at: f'"step": {step},'.encode() in lease_of(local_cli), "a heartbeat")
            kill(daemon)
        else:
            daemon.terminate()
    log = str(tmp_path / "three")
    assert local_park.start("three", STEPS="60", PACE="0.02", LOG=log).wait() == Exit.COMPLETE

    steps = [list(map(int, (tmp_path / machine).read_text().split())) for machine in ("one", "two", "three")]
    again = sum(map(len, steps)) - len(set(itertools.chain(*steps)))
    assert again > 0
    page = tmp_path / "page.html"
    local_cli.good("report", "count", "--html", str(page))
    found = local_cli.json("report", "count")
    assert found["batches"] == {
        "executed": sum(map(len, steps)),
        "again": again,
        "step": 60,
        "lost": 0,
        "at_least": ["executed", "again"],
    }
    assert [one["again"] for one in found["interruptions"]] == [again, 0]

    told = [
        [json.loads(line) for line in local_cli.store.get(f"00001-count/events-i{number}.jsonl")[0].splitlines()]
        for number in (1, 2, 3)
    ]
    (seen,) = (event["seen"] for events in told for event in events if event["event"] == "last-heartbeat")
    expected = dict.fromkeys(found["seconds"], 0.0)
    ends = []
    for events, until in zip(told, (seen, None, None), strict=True):
        seconds = classified(events, until)
        ends.append((datetime.fromisoformat(events[0]["at"]).timestamp(), sum(seconds.values())))
        if until and "productive" in seconds:
            seconds["redone"] = seconds["productive"] * again / len(steps[0])
            seconds["productive"] -= seconds["redone"]
        for kind, value in seconds.items():
            expected[kind] = expected.get(kind, 0.0) + value
    gaps = (following - began - lasted for (began, lasted), (following, _) in itertools.pairwise(ends))
    expected["gap"] = sum(max(0.0, gap) for gap in gaps)
    expected = {kind: value for kind, value in expected.items() if value > 0.0005}
    assert found["seconds"] == pytest.approx(expected, abs=0.005)
    total = sum(expected.values())
    shares = {label: float(share) for label, share in ROW.findall(page.read_text())}
    assert shares == pytest.approx({KINDS[kind][0]: 100 * value / total for kind, value in expected.items()}, abs=0.3)


ROW = re.compile(r'</i> ([a-z -]+)</td><td class="number">[^<]*</td><td class="number">([0-9.]+) %</td>')


def lease_of(cli: Cli) -> bytes:
    return cli.store.get("00001-count/lease.json")[0]

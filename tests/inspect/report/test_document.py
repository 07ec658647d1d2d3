from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes.pairs import store_only
from fakes.stored import Run, name_of
from fakes.told import Report, Told
from holdfast.inspect.report.cost import Prices
from holdfast.inspect.report.document import document
from holdfast.inspect.report.page import page
from holdfast.inspect.report.read import read
from holdfast.spool import Spool

UNTOLD = ["executed", "again"]


def interrupt_ten_times(told: Told) -> None:
    for number in range(5):
        told.interrupted(40 + 7 * number)
        told.killed(30 + 11 * number, gap=200)
    told.completed()


def test_batches_and_times_are_those_that_passed(told: Told, report: Report) -> None:
    interrupt_ten_times(told)
    found = report()
    account = told.account
    assert found["batches"] == {
        "executed": account.executed,
        "again": account.again,
        "step": 1000,
        "lost": 0,
        "at_least": UNTOLD,
    }
    assert account.again > 50, "the story has something to count"
    seconds = found["seconds"]
    assert seconds["productive"] + seconds["redone"] == pytest.approx(account.seconds["training"])
    assert seconds["redone"] == pytest.approx(account.again * 0.5)
    for kind in ("validation", "waiting", "restore", "startup", "drain", "saving", "after", "gap"):
        assert seconds[kind] == pytest.approx(account.seconds[kind]), kind
    counts = 500 + account.seconds["validation"]
    machines = sum(account.seconds.values()) - account.seconds["gap"]
    assert found["goodput"]["runtime"] == pytest.approx(counts / machines)
    assert found["goodput"]["overall"] == pytest.approx(counts / sum(account.seconds.values()))


def test_the_verdict_is_one_sentence(told: Told, report: Report) -> None:
    interrupt_ten_times(told)
    again = told.account.again
    assert report()["verdict"] == (
        f"complete: 11 starts on 11 machines, 10 interruptions, 0 batches lost, at least {again} done twice"
    )


def test_each_interruption_has_its_reason_what_it_cost_and_how_long_there_was_no_machine(
    told: Told, report: Report
) -> None:
    told.interrupted(150, gap=45)
    told.killed(170)
    told.completed()
    first, second = report()["interruptions"]
    assert (first["reason"], first["exit_code"], first["again"], first["gap"]) == (
        "spot notice (terminate at 16:19:15 UTC)",
        75,
        0,
        45.0,
    )
    assert second["reason"] == "ended without a word: killed, or the machine vanished"
    assert (second["exit_code"], second["again"]) == (None, 20)
    assert [first["at_least"], second["at_least"]] == [False, True], "its last events were on a disk that is lost"


def test_a_run_that_is_trained_has_an_end_in_sight_and_what_it_would_lose_now(told: Told, report: Report) -> None:
    told.interrupted(150)
    told.goes_on(180)  # to batch 330
    found = document(read(told.run.store, told.run.id), told.now.timestamp() + 20, Prices())
    assert found["verdict"] == (
        "running: epoch 4/10, batch 30/100, 33 %, about 6 min left: 2 starts on 2 machines, 1 interruption, "
        f"30 batches not stored yet as of {told.now:%H:%M:%S} UTC, 0 done twice"
    )
    assert found["progress"]["share"] == pytest.approx(0.33)
    assert found["progress"]["seconds_left"] == pytest.approx(670 * 0.5 - 20)
    assert report(silent=3600)["progress"]["seconds_left"] is None


def test_the_goodput_of_a_training_that_began_just_now_is_not_known_yet(told: Told, report: Report) -> None:
    told.goes_on(1)
    assert report()["goodput"] == {"runtime": None, "overall": None}


def test_a_run_that_nobody_hears_of_is_not_called_running(told: Told, report: Report) -> None:
    told.goes_on(130)
    found = report(silent=3600)
    assert found["state"] == "silent"
    assert found["verdict"].startswith("not heard of for ")
    assert found["verdict"].endswith("1 interruption, at least 30 batches lost, 0 done twice")
    assert found["batches"]["at_least"] == ["lost"]


def test_of_a_machine_that_vanished_the_lease_says_more_than_its_events(told: Told, report: Report) -> None:
    told.goes_on(130)
    sign = {"seen": (told.now + timedelta(seconds=40)).timestamp(), "step": 190, "executed": 190, "validated": 3.0}
    told.run.file("lease.json", json.dumps({"state": "held", "incarnation": 1, "sign": sign}).encode())
    found = report(silent=3600)
    assert (found["batches"]["step"], found["batches"]["lost"], found["unseen"]) == (190, 90, [])
    assert found["seconds"]["productive"] == pytest.approx(130 * 0.5 + 40)
    assert found["untold"]


def test_checkpoints_of_before_the_first_holdfast_run_are_of_no_start(run: Run, report: Report) -> None:
    run.pair(name_of(1, incarnation=1))
    lines = [{"event": "lease", "incarnation": 2}, {"event": "machine", "host": "a"}]
    timed = [{"at": f"2026-11-22T16:0{number}:00+00:00", **line} for number, line in enumerate(lines)]
    run.file("events-i2.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in timed))
    assert report()["unseen"] == []


def test_a_start_without_events_is_known_by_its_checkpoint_and_by_the_lease(told: Told, report: Report) -> None:
    told.interrupted(150)
    assert (report()["unseen"], report()["untold"]) == ([], False)
    told.run.pair(name_of(40, incarnation=2))
    told.run.file("lease.json", json.dumps({"state": "held", "incarnation": 3, "sign": {"seen": 7.0}}).encode())
    found = report(prices=Prices(0.3, 1.0))
    assert (found["unseen"], found["untold"], found["batches"]["at_least"]) == ([2, 3], True, UNTOLD)
    assert "at least 1 start on 1 machine" in found["verdict"]
    shown = page(found)
    assert "number): 2, 3." in shown
    assert "cost, at least" in shown, "the cost of their machines is not known"


def test_a_run_that_failed_says_so_with_the_last_lines_and_the_remedy(told: Told, report: Report) -> None:
    told.crashed(130)
    found = report()
    assert found["verdict"].startswith(
        "failed: the command failed (exit 1): correct the script, and run it again: 1 start"
    )
    ended, failed = found["troubles"]
    assert ended["lines"][-1].startswith("ValueError: </script>")
    assert failed["text"] == "the command failed (exit 1): correct the script, and run it again"


def test_a_run_that_is_to_be_continued_is_interrupted(told: Told, report: Report) -> None:
    told.interrupted(150)
    assert report()["verdict"] == (
        "interrupted, to be continued: 1 start on 1 machine, 1 interruption, 0 batches lost, 0 done twice"
    )


def test_a_run_without_events_is_reported_all_the_same(run: Run, report: Report) -> None:
    run.pairs(1, 2)
    found = report()
    assert found["verdict"] == "there are no events of this run in the store"
    assert found["checkpoints"]["count"] == 2
    assert json.dumps(found, allow_nan=False)


def test_the_cost_is_the_machines_hours_and_what_an_undisturbed_one_would_have_cost(told: Told, report: Report) -> None:
    told.interrupted(150)
    told.completed()
    account = told.account.seconds
    found = report(prices=Prices(0.3, 1.0))["cost"]
    hours = (sum(account.values()) - account["gap"]) / 3600
    once = (account["startup"] + account["restore"] + account["saving"]) / 2
    undisturbed = (account["training"] + account["validation"] + account["after"] + once) / 3600
    assert found["spot"] == pytest.approx(0.3 * hours)
    assert found["on_demand"] == pytest.approx(undisturbed)
    assert found["saved"] == pytest.approx(undisturbed - 0.3 * hours)
    assert report()["cost"] is None
    alone = report(prices=Prices(spot=0.3))["cost"]
    assert (alone["on_demand"], alone["saved"]) == (None, None)


def test_checkpoints_say_what_they_are_good_for_and_whether_they_look_whole(told: Told, report: Report) -> None:
    told.interrupted(250)
    run = told.run
    newest, second, first = run.names()
    run.damage(second, "json", b"{")
    run.damage(first, "h5", b"another size")
    rows = report()["checkpoints"]["newest"]
    assert [(row["step"], row["reason"], row["why"]) for row in rows] == [
        (250, "epoch", ["the newest"]),
        (200, "", []),
        (100, "epoch", []),
    ]
    assert [row["state"].partition(":")[0] for row in rows] == ["sizes are right", "damaged", "damaged"]
    assert newest.step == 250


def test_a_checkpoint_that_several_others_need_says_how_many(run: Run, report: Report, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "machine" / str(run.id))
    for save, needs in ((1, ()), (2, ()), (3, (name_of(1), name_of(2))), (4, (name_of(1),))):
        store_only(run.store, spool, name_of(save), needs)
    run.file("training_options.json", json.dumps({"keep": {"last": 2, "every": None, "best": None}}).encode())
    rows = report()["checkpoints"]["newest"]
    assert [row["why"] for row in rows[2:]] == [["step 30 needs it"], ["needed by 2 others"]]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (
            {"last": 2, "every": 2, "best": "loss:min"},
            [["the newest", "the best loss"], ["one of the newest 2", "of each 2. epoch"], []],
        ),
        ({"last": None, "every": None, "best": None}, [["the newest"], [], []]),
        ({"last": -1, "every": [], "best": 7}, [["the newest"], [], []]),
        ("all", [["the newest"], [], []]),
    ],
)
def test_a_checkpoint_says_by_which_option_it_is_kept(told: Told, report: Report, keep: Any, expected: Any) -> None:
    told.interrupted(250)
    told.run.file("training_options.json", json.dumps({"keep": keep}).encode())
    assert [row["why"] for row in report()["checkpoints"]["newest"]] == expected


def test_a_checkpoint_that_a_start_resumed_from_was_verified_by_it(told: Told, report: Report) -> None:
    told.interrupted(250)
    told.killed(30)
    told.completed()
    rows = {row["step"]: row["verified"] for row in report()["checkpoints"]["newest"]}
    assert rows[250] is not None
    assert rows[250]["start"] == 3
    assert [step for step, verified in rows.items() if verified] == [250]


def test_a_checkpoint_says_which_fit_it_is_of(told: Told, report: Report) -> None:
    told.interrupted(150)
    (newest, *_) = told.run.names()
    manifest = json.loads(told.run.store.get(told.run.key(newest, "json"))[0])
    assert manifest["fit"] == 1
    told.run.damage(newest, "json", json.dumps({**manifest, "fit": 2}).encode())
    assert [row["fit"] for row in report()["checkpoints"]["newest"]] == [2, 1]


def test_what_changed_between_machines_is_listed(told: Told, report: Report) -> None:
    told.interrupted(150)
    told.completed()
    (change,) = report()["changes"]
    assert (change["start"], change["changes"]) == (2, ["the machine is ip-10-0-0-2; it was ip-10-0-0-1"])


def tell_of_a_gang(run: Run) -> None:
    """Rank 2 is lost after 24 batches, 4 of which no checkpoint has; another machine takes its place. 100 s in all."""
    lines: list[tuple[int, dict[str, Any]]] = [
        (0, {"event": "lease", "run": str(run.id), "incarnation": 1}),
        (0, {"event": "machine", "host": "a", "disk": "1", "ranks": 3}),
        (1, {"event": "fresh"}),
        (1, {"event": "gang-joined", "rank": 1, "host": "b"}),
        (2, {"event": "gang-joined", "rank": 2, "host": "c"}),
        (5, {"event": "started", "executed": 0}),
        (10, {"event": "training-began"}),
        (30, {"event": "saved", "checkpoint": str(name_of(2)), "reason": "epoch"}),
        (34, {"event": "progress", "step": 24, "executed": 24}),
        (34, {"event": "gang-lost", "rank": 2, "host": "c", "warning": True, "text": "rank 2: its machine is lost"}),
        (34, {"event": "gang-broken", "warning": True, "text": "the other ranks are ended"}),
        (35, {"event": "exited", "code": 137, "executed": 24}),
        (35, {"event": "restored", "checkpoint": str(name_of(2))}),
        (50, {"event": "gang-joined", "rank": 2, "host": "d"}),
        (54, {"event": "started", "executed": 24}),
        (60, {"event": "training-began"}),
        (90, {"event": "progress", "step": 50, "executed": 54}),
        (90, {"event": "training-finished"}),
        (95, {"event": "exited", "code": 0, "executed": 54}),
        (99, {"event": "gang-lost", "rank": 1, "host": "b"}),
        (100, {"event": "closing", "outcome": "complete"}),
    ]
    timed = [{"at": f"2026-11-22T16:{at // 60:02d}:{at % 60:02d}+00:00", "text": "", **line} for at, line in lines]
    run.file("events-i1.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in timed))
    run.finish()


def test_a_run_of_several_machines_at_a_time_costs_them_all_and_names_who_was_lost(run: Run, report: Report) -> None:
    tell_of_a_gang(run)
    found = report(prices=Prices(1.0, 3.0))
    assert found["verdict"] == "complete: 1 start on 4 machines, 1 interruption, 0 batches lost, 4 done twice"
    (lost,) = found["interruptions"]
    assert (lost["reason"], lost["again"], lost["gap"]) == (
        "rank 2 (c) was lost: its machine, or the connection to it",
        4,
        20.0,
    )
    assert found["seconds"]["waiting"] == 19.0
    assert found["cost"]["hours"] == pytest.approx((100 + 98 + 32 + 50) / 3600), "of each while it was there"
    assert found["cost"]["undisturbed_hours"] > 3 * (found["seconds"]["productive"] + 5) / 3600
    assert found["untold"], "the other machines may have begun before this one and ended after it"
    assert found["lanes"][0]["ranks"] == ["a", "b", "d"]
    assert [one["event"] for one in found["troubles"]] == ["gang-lost", "gang-broken"], (
        "the others ended no command ill"
    )
    assert "3 machines at a time" in page(found)
    assert "a +2" in page(found)


def test_a_machine_is_known_by_its_name_and_its_disk(run: Run, report: Report) -> None:
    for number, disk in enumerate(("1", "1", "2"), 1):
        lines = [{"event": "lease", "incarnation": number}, {"event": "machine", "host": "laptop", "disk": disk}]
        timed = [{"at": f"2026-11-22T16:0{number}:00+00:00", **line} for line in lines]
        run.file(f"events-i{number}.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in timed))
    assert report()["hosts"] == 2


def test_a_run_of_an_early_version_has_fewer_facts_and_a_report(run: Run, report: Report) -> None:
    """Its events have no progress, no metrics and no counts of batches."""
    lines = [
        {"event": "lease", "run": str(run.id), "incarnation": 1},
        {"event": "started", "pid": 1, "command": ["python"]},
        {"event": "fresh"},
        {"event": "training-began", "epochs": 6},
        {"event": "saved", "checkpoint": str(name_of(3)), "reason": "epoch"},
        {"event": "exited", "code": 75, "executed": 33},
        {"event": "exit", "code": 75, "text": ""},
    ]
    run.pair(name_of(3), {"val_loss": 0.5})
    timed = [{"at": f"2026-11-22T16:00:{second:02d}+00:00", **line} for second, line in enumerate(lines)]
    run.file("events-i1.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in timed))
    found = report()
    assert found["batches"] == {"executed": 30, "again": 0, "step": 30, "lost": 0, "at_least": []}
    assert found["curves"]["val_loss"] == [[30, 1_795_363_204.0, 0.5, 1]]
    assert found["progress"] is None


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"event": "saved"}',
        b'{"at": "yesterday", "event": "saved"}',
        b'{"at": 7, "event": "saved"}',
        b'{"at": "2026-11-22T16:00:00+00:00", "event": ["saved"]}',
        b'{"at": "9999-12-31T23:59:59+00:00", "event": "saved"}',
    ],
)
def test_a_line_that_is_no_event_is_counted_and_disturbs_nothing(told: Told, report: Report, line: bytes) -> None:
    told.interrupted(150)
    told.run.file("events-i2.jsonl", line + b"\n")
    found = report()
    assert (found["starts"], found["unread"]["lines"]) == (1, 1)


WRONG: list[dict[str, Any]] = [
    {"event": "progress", "step": "many", "epoch": None, "executed": -1, "epochs": [], "batch_seconds": True},
    {"event": "saved", "checkpoint": 7, "metrics": [1]},
    {"event": "saved", "checkpoint": str(name_of(1)), "metrics": {"loss": "low", "deep": {"x": 1}, "big": 10**400}},
    {"event": "machine", "host": {"x": 1}, "versions": 7},
    {"event": "exited", "code": "one", "last_lines": {"a": 1}, "executed": 1e300},
    {"event": "origin-changed", "warning": 1, "text": ["x"], "changes": "all"},
    {"event": "phase", "phase": ["running"]},
    {"event": "stalled", "seconds": 1e18},
    {"event": "started", "command": "python", "executed": 10**30},
    {"event": "lease", "incarnation": "two"},
    {"event": "exit", "code": 75.5},
    {"event": "exit", "code": 4711},
    {"event": "restored", "checkpoint": str(name_of(9)) * 3},
]


@pytest.mark.parametrize("facts", WRONG, ids=lambda facts: str(facts["event"]))
def test_facts_that_are_not_of_their_type_are_not_there(told: Told, report: Report, facts: dict[str, Any]) -> None:
    told.interrupted(150)
    line = {"at": "2026-11-22T17:00:00+00:00", **facts}
    told.run.file("events-i2.jsonl", json.dumps(line).encode() + b"\n")
    assert json.dumps(report(), allow_nan=False)

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from holdfast.cli.status import plain, status
from holdfast.core.view import Course, Facts, Mark
from holdfast.spool import Progress
from holdfast.supervisor.notices.handed import Handed, notice_file
from holdfast.supervisor.report.status import Status

NOW = 10_000.0
RUNS = Path("runs")


def ended(number: int, alive: bool | None = False, code: int | None = 0) -> Status:
    run = f"{number:05}-digits"
    facts = Facts(
        began=float(number),
        phase="running",
        exit_code=code,
        saved=Mark("a", 1, 83, NOW - 5),
        stored=Mark("b", 1, 63, NOW - 9),
    )
    return Status(run, RUNS / run, alive, 7, facts, Progress(executed=83, epoch=2, batch=23, step=83), 0, 0)


def living(number: int) -> Status:
    return ended(number, alive=True, code=None)


def test_what_lives_is_shown_in_full_and_first_and_the_newest_of_what_ended_on_a_line_each() -> None:
    lines = plain([ended(1), living(2), *(ended(number) for number in range(3, 10))], NOW, RUNS)
    assert lines[:4] == ["in ./runs; --work-dir looks elsewhere", "", "run: 00002-digits", "state: running, process 7"]
    assert lines[-7:] == [
        "",
        *(f"{number:05}-digits: ended (exit 0) at step 83" for number in range(9, 4, -1)),
        "and 3 more; --run 00004-digits shows one",
    ]


def test_a_run_that_is_alone_is_shown_in_full_when_it_has_ended_too() -> None:
    assert "stored: step 63, 9 s ago" in plain([ended(1)], NOW, RUNS)


def test_a_run_whose_status_cannot_be_read_is_a_line_beside_the_others() -> None:
    lines = plain([living(1)], NOW, RUNS, ["00002-digits"])
    assert "state: running, process 7" in lines
    assert lines[-2:] == ["", "00002-digits: its status.json cannot be read"]


def test_what_cannot_be_read_disturbs_no_json_and_is_told_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "00001-digits"
    folder.mkdir()
    (folder / "status.json").write_text("[" * 100_000)
    shown = CliRunner().invoke(status, ["--work-dir", str(tmp_path), "--run", "digits", "--json"])
    assert (shown.exit_code, shown.stdout) == (0, "[]\n")
    assert shown.stderr == "holdfast: warning: 00001-digits: its status.json cannot be read\n"


@pytest.mark.parametrize(("number", "told"), [(1, "1 process was"), (2, "2 processes were")])
def test_orphans_are_counted_in_plain_english(number: int, told: str) -> None:
    one = living(1)
    one = replace(one, facts=replace(one.facts, orphans=number, pid=7))
    lines = plain([one], NOW, RUNS)
    assert f"orphans: {told} left behind and reaped" in lines
    assert "command: process 7, 0 restarts" in lines


def test_a_start_that_waits_for_the_lease_says_so_and_not_that_nothing_is_stored() -> None:
    one = living(1)
    waits = "waiting for the lease: it is held by another"
    one = replace(one, facts=Facts(began=1.0, waiting=waits))
    fresh = replace(one, progress=Progress())
    for waiting in (one, fresh):
        lines = plain([waiting], NOW, RUNS)
        assert {"state: waiting, process 7", "waits: for the lease: it is held by another"} <= set(lines)
        assert not [line for line in lines if line.startswith(("saved", "stored", "to store"))]
    assert "at: epoch 3, batch 23, step 83" in plain([one], NOW, RUNS), "an earlier start was here"
    assert not [line for line in plain([fresh], NOW, RUNS) if line.startswith("at:")]
    assert (one.to_dict(NOW)["state"], one.to_dict(NOW)["waiting"]) == ("waiting", waits)


def test_a_start_whose_command_has_done_no_batch_yet_says_so() -> None:
    facts = Facts(began=1.0, phase="running", counts={"started": 1})
    lines = plain([replace(living(1), facts=facts, progress=Progress())], NOW, RUNS)
    assert "at: no batch on this machine yet" in lines


def test_of_a_later_fit_its_number_is_told() -> None:
    one = living(1)
    one = replace(one, facts=replace(one.facts, course=Course(4, 30, None, 2)))
    assert "at: fit 2: epoch 3/4, batch 23/30, 69 %, step 83" in plain([one], NOW, RUNS)


def test_a_notice_that_keeps_the_next_start_of_an_ended_run_waiting_is_told(tmp_path: Path) -> None:
    one = replace(ended(1, code=75), folder=tmp_path / "00001-digits")
    assert not any(line.startswith("notice: ") for line in plain([one], NOW, tmp_path))
    notice_file(tmp_path, "digits").write_bytes(Handed("spot terminate", NOW + 60).to_json())
    (line,) = (line for line in plain([one], NOW, tmp_path) if line.startswith("notice: "))
    assert line.startswith(
        "notice: spot terminate (handed in): a start waits until 1970-01-01 02:57:40 UTC, or until you"
    )
    assert not any("a start waits" in line for line in plain([one], NOW + 900, tmp_path))


def test_what_a_sudden_loss_would_cost_is_told_while_the_run_lives() -> None:
    text = "interval: 38 s; at most 38 s of training would be lost to a SIGKILL now"
    one = replace(living(1), facts=Facts(began=1.0, phase="running", interval=38.0))
    assert text in plain([one], NOW, RUNS)
    one = replace(one, facts=replace(one.facts, exit_code=0))
    assert text not in plain([one], NOW, RUNS)


@pytest.mark.parametrize(("kind", "told"), [("fresh", "nothing yet"), ("restored", "nothing by this start yet")])
def test_nothing_is_said_to_be_stored_only_of_what_is_known(kind: str, told: str) -> None:
    one = living(1)
    one = replace(one, facts=Facts(began=1.0, phase="running", counts={kind: 1}))
    assert {f"saved: {told}", f"stored: {told}"} <= set(plain([one], NOW, RUNS))


def test_what_a_killed_daemon_noted_is_told_as_of_its_last_event() -> None:
    lines = plain([ended(1, code=None)], NOW, Path("/var/runs"))
    assert lines[0] == "in /var/runs; --work-dir looks elsewhere"
    assert {
        "state: dead",
        "saved: step 83, 5 s ago, as of its last event",
        "stored: step 63, 9 s ago, as of its last event",
        "to store: nothing",
    } <= set(lines)


def test_what_is_not_stored_what_was_done_twice_and_which_start_it_is_are_told_in_plain_words() -> None:
    one = replace(living(1), owed=1, facts=replace(living(1).facts, incarnation=3, counts={"started": 1}))
    lines = plain([one], NOW, RUNS)
    twice = plain([replace(one, progress=Progress(executed=100, epoch=2, batch=23, step=83))], NOW, RUNS)
    assert {"to store: 1 checkpoint", "done twice: no batch of this start", "start: number 3 of this run"} <= set(lines)
    assert "done twice: 17.0 % of this start's batches" in twice


def test_a_training_that_lives_shows_what_is_left_of_it() -> None:
    one = living(1)
    one = replace(one, facts=replace(one.facts, course=Course(4, 30, 2.0)))
    assert "at: epoch 3/4, batch 23/30, 69 %, about 74 s left, step 83" in plain([one], NOW, RUNS)
    described = one.to_dict(NOW)
    assert (described["epochs"], described["batches"], described["training_seconds_left"]) == (4, 30, 74.0)
    gone = replace(one, alive=False)
    assert "at: epoch 3/4, batch 23/30, 69 %, step 83" in plain([gone], NOW, RUNS)
    assert gone.to_dict(NOW)["training_seconds_left"] is None

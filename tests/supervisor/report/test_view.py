from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from fakes.pairs import name_of, save_pair
from fakes.stored import Run
from fakes.stores import MemoryStore
from fakes.told import BEGAN, Told
from holdfast.core.machine.events import Event, NoNotice, NoticeStands, RebalanceRecommended
from holdfast.inspect.report.document import document
from holdfast.inspect.report.read import read as read_records
from holdfast.spool import Board, Progress, Spool
from holdfast.supervisor.report.journal import Journal
from holdfast.supervisor.report.status import STATUS_FILE, StatusFile, find, read
from holdfast.supervisor.report.view import Watch, announcing
from holdfast.supervisor.restore.earlier_starts import earlier_starts

RUN = "00001-digits"
AT = datetime(2026, 11, 22, 16, 17, 6, tzinfo=UTC)


@pytest.fixture
def journal() -> Journal:
    return Journal(None, wall=lambda: AT)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / RUN)


@pytest.fixture
def watch(journal: Journal, tmp_path: Path) -> Watch:
    return Watch(journal, tmp_path)


def begin(journal: Journal, spool: Spool, **restored: Any) -> None:
    journal.attach(spool.file("events.jsonl"))
    journal.event("lease", run=RUN, incarnation=2)
    if restored:
        journal.event("restored", **restored)
    journal.event("phase", phase="starting", seconds_left=None)
    journal.event("started", pid=os.getpid(), command=["python"])
    journal.event("phase", phase="running", seconds_left=None)


# --- how it stands -------------------------------------------------------------------------------------------------


def test_before_the_folder_is_known_there_is_no_progress(watch: Watch) -> None:
    standing = watch.standing()
    assert (standing.progress, standing.executed, standing.owed, standing.useful_batches) == (Progress(), 0, None, None)


def test_only_batches_of_this_start_count_for_its_share(journal: Journal, spool: Spool, watch: Watch) -> None:
    board = Board(spool.file(Board.FILE))
    board.write(Progress(500, 4, 0, 40))
    begin(journal, spool, checkpoint=str(name_of(4)), local=True)
    board.write(Progress(520, 6, 0, 60))
    assert watch.standing().useful_batches == 1.0
    journal.event("started", pid=1, command=[])  # after a crash
    board.write(Progress(540, 6, 0, 60))
    assert watch.standing().executed == 40
    assert watch.standing().useful_batches == 0.5


def test_the_time_of_all_starts_is_that_of_the_report(tmp_path: Path) -> None:
    told = Told(Run(MemoryStore(), tmp_path / "stored"), tmp_path)
    told.interrupted(150)
    told.killed(170)
    told.completed()
    store, run = told.run.store, str(told.run.id)
    now = BEGAN
    journal = Journal(None, wall=lambda: now)
    watch = Watch(journal, tmp_path / "runs", lambda: now.timestamp())
    assert watch.standing().run_seconds is None
    for line in store.get(f"{run}/events-i3.jsonl")[0].splitlines():
        facts = json.loads(line)
        now = datetime.fromisoformat(facts.pop("at"))
        journal.event(facts.pop("event"), facts.pop("text"), **facts)
    earlier = earlier_starts(store, run, 3, 300)
    assert earlier is not None
    journal.event("earlier-starts", **dataclasses.asdict(earlier))
    report = document(read_records(store, told.run.id), now.timestamp())
    standing = watch.standing()
    assert standing.run_seconds == pytest.approx(report["seconds"])
    assert standing.run_goodput == pytest.approx((report["goodput"]["runtime"], report["goodput"]["overall"]))


def test_pairs_that_the_store_lacks_are_owed(journal: Journal, spool: Spool, watch: Watch) -> None:
    begin(journal, spool)
    for save in (1, 2, 3):
        save_pair(spool, name_of(save))
    spool.mark_stored(name_of(2))
    assert watch.standing().owed == 2


def test_a_listener_that_fails_disturbs_neither_the_events_nor_the_others(journal: Journal, spool: Spool) -> None:
    def fail(kind: str, event: object) -> None:
        raise RuntimeError(kind)

    heard: list[str] = []
    journal.listen(fail)
    journal.listen(lambda kind, event: heard.append(kind))
    begin(journal, spool)
    assert "running" in spool.file("events.jsonl").read_text()
    assert heard[0] == "lease"


def test_notices_are_written_down_and_passed_on(journal: Journal, spool: Spool, watch: Watch) -> None:
    passed: list[Event] = []
    report = announcing(journal, passed.append)
    reported: list[Event] = [NoNotice(), RebalanceRecommended(), NoticeStands("spot notice (stop)", 60.0), NoNotice()]
    for one in reported:
        report(one)
    assert passed == reported
    assert watch.facts.counts == {"notice": 2, "notice-over": 1}
    assert watch.facts.notices == {"rebalance": 1, "spot stop": 1}


# --- status.json ---------------------------------------------------------------------------------------------------


@pytest.fixture
def written(journal: Journal, spool: Spool, watch: Watch) -> Path:
    """A work dir in which a daemon works: this process."""
    file = StatusFile(watch, journal, interval=0.01)
    begin(journal, spool)
    journal.event("saved", checkpoint=str(name_of(1)), reason="epoch")
    journal.event("passed-over", "a damaged pair", warning=True)
    file.close()
    return spool.path.parent


def test_the_file_is_written_when_the_folder_is_known_and_says_how_it_stands(written: Path) -> None:
    (status,) = find(written)
    assert (status.run, status.state, status.alive, status.daemon) == (RUN, "running", True, os.getpid())
    assert status.facts.incarnation == 2
    assert status.facts.saved is not None
    assert status.facts.saved.step == 10
    document = status.to_dict(now=AT.timestamp() + 3)
    assert document["saved"]["age"] == 3
    assert (document["stored"], document["warning"], document["child_pid"]) == (None, "a damaged pair", os.getpid())
    json.dumps(document)


def test_the_last_word_is_written_however_soon_it_comes(journal: Journal, spool: Spool, watch: Watch) -> None:
    file = StatusFile(watch, journal, interval=3600)
    begin(journal, spool)
    journal.event("exit", code=75)
    file.close()
    assert read(spool.path).state == "ended (exit 75)"


def test_progress_comes_from_the_board_and_not_from_the_file(written: Path) -> None:
    Board(written / RUN / Board.FILE).write(Progress(7, 0, 7, 7))
    status = read(written / RUN)
    assert (status.progress.step, status.useful_batches) == (7, 1.0)


def test_a_daemon_whose_process_is_gone_is_dead(written: Path) -> None:
    path = written / RUN / STATUS_FILE
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "pid_began": document["pid_began"] - 1}))
    status = read(path.parent)
    assert (status.alive, status.state) == (False, "dead")


def test_a_daemon_in_another_container_is_known_by_its_lock(written: Path, spool: Spool) -> None:
    path = written / RUN / STATUS_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": 1 << 30}))
    with spool.lock():
        assert read(path.parent).alive is True


def test_a_process_that_is_a_zombie_is_dead(written: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        process = psutil.Process(child.pid)
        began = process.create_time()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        path = written / RUN / STATUS_FILE
        path.write_text(json.dumps({**json.loads(path.read_text()), "pid": child.pid, "pid_began": began}))
        assert read(path.parent).alive is False


OTHER = "00002-digits"
NO_STATUS = [
    "",
    "[]",
    "{}",
    '{"pid": 1}',
    '{"pid": 1, "pid_began": 2, "facts": 3}',
    "[" * 100_000,
    '{"pid": 1e400, "pid_began": null, "executed_before": 0, "facts": {}}',
    '{"pid": 1, "pid_began": null, "executed_before": 1e400, "facts": {}}',
    '{"pid": 1, "pid_began": [], "executed_before": 0, "facts": {}}',
]


def found_beside_another(work_dir: Path) -> tuple[list[str], list[str]]:
    """The runs whose status is found, and those whose status can't be read."""
    unreadable: list[str] = []
    return [status.run for status in find(work_dir, unreadable=unreadable.append)], unreadable


@pytest.mark.parametrize("document", NO_STATUS)
def test_a_status_that_is_none_is_told_and_hides_no_other(written: Path, document: str) -> None:
    (written / OTHER).mkdir()
    (written / OTHER / STATUS_FILE).write_text(document)
    assert found_beside_another(written) == ([RUN], [OTHER])


@pytest.mark.parametrize(
    "facts",
    [
        {"began": "x"},
        {"began": float("inf")},
        {"began": float("nan")},
        {"until": []},
        {"exit_code": {}},
        {"orphans": True},
        {"incarnation": 2**70},
        {"counts": {"started": "x"}},
        {"counts": []},
        {"notice": 1},
        {"saved": 1},
        {"saved": {"checkpoint": "a", "epoch": 1, "step": 1, "at": "x"}},
        {"stored": {"checkpoint": "a"}},
    ],
)
def test_facts_of_another_type_are_no_status(written: Path, facts: dict[str, Any]) -> None:
    (written / OTHER).mkdir()
    document = json.loads((written / RUN / STATUS_FILE).read_text())
    document["facts"] |= facts
    (written / OTHER / STATUS_FILE).write_text(json.dumps(document))
    assert found_beside_another(written) == ([RUN], [OTHER])


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)])
def test_a_status_that_is_no_regular_file_is_not_waited_for(written: Path, make: Callable[[Path], None]) -> None:
    (written / OTHER).mkdir()
    make(written / OTHER / STATUS_FILE)
    assert found_beside_another(written) == ([RUN], [OTHER])


def test_a_folder_in_which_no_daemon_worked_is_passed_over(written: Path) -> None:
    (written / OTHER).mkdir()
    assert found_beside_another(written) == ([RUN], [])


def test_what_the_folder_has_is_newer_than_the_file(written: Path, spool: Spool) -> None:
    """The file is written once a second at most: `saved` and `owed` must not be of different moments."""
    save_pair(spool, name_of(2, incarnation=2))
    status = read(spool.path)
    assert status.facts.saved is not None
    assert (status.facts.saved.step, status.facts.stored, status.owed) == (20, None, 1)
    spool.mark_stored(name_of(2, incarnation=2))
    status = read(spool.path)
    assert status.facts.stored is not None
    assert (status.facts.stored.step, status.owed) == (20, 0)


def test_pairs_of_earlier_starts_are_neither_saved_nor_stored_by_this_one(written: Path, spool: Spool) -> None:
    save_pair(spool, name_of(9))
    spool.mark_stored(name_of(9))
    status = read(spool.path)
    assert status.facts.saved is not None
    assert (status.facts.saved.step, status.facts.stored) == (10, None)


def test_a_later_holdfasts_facts_are_passed_over(written: Path) -> None:
    path = written / RUN / STATUS_FILE
    document = json.loads(path.read_text())
    document["facts"]["unheard of"] = 1
    path.write_text(json.dumps(document))
    assert read(path.parent).facts.incarnation == 2


def test_runs_are_found_by_name_and_by_id(written: Path) -> None:
    other = written / "00002-other"
    other.mkdir()
    (other / STATUS_FILE).write_bytes((written / RUN / STATUS_FILE).read_bytes())
    (written / "no run").mkdir()
    assert [status.run for status in find(written)] == [RUN, "00002-other"]
    assert [status.run for status in find(written, "other")] == ["00002-other"]
    assert [status.run for status in find(written, RUN)] == [RUN]
    assert find(written / "nowhere") == []

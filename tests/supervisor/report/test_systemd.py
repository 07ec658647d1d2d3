from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.clocks import Clock
from fakes.manager import Manager
from holdfast.core.errors import Exit
from holdfast.core.machine.events import NoticeStands
from holdfast.core.machine.table import Phase, State
from holdfast.core.view import Course
from holdfast.spool import Progress
from holdfast.supervisor.report.systemd import Systemd, is_journal, status

TRAINING = State(phase=Phase.RUNNING)
AT = Progress(executed=1412, epoch=2, batch=412, step=1412)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    address = f"{tmp_path}/notify" if request.param == "path" else f"@holdfast-{uuid.uuid4().hex}"
    found = Manager(address)
    yield found
    found.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def systemd(manager: Manager, clock: Clock) -> Systemd:
    return Systemd({"NOTIFY_SOCKET": manager.address}, clock)


@pytest.fixture
def watched(manager: Manager, clock: Clock) -> Callable[..., Systemd]:
    return lambda **more: Systemd(
        {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000000", **more}, clock, pid=os.getpid()
    )


def test_ready_is_said_on_a_path_and_in_the_abstract_namespace(systemd: Systemd, manager: Manager) -> None:
    systemd.ready()
    assert manager.heard() == ["READY=1"]


@pytest.mark.parametrize("address", ["", "relative", "/nonexistent/socket", "@nobody-listens-here"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    alone = Systemd({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"})
    alone.ready()
    alone.turn(TRAINING, AT)


def test_a_manager_that_goes_away_disturbs_nothing(systemd: Systemd, manager: Manager) -> None:
    manager.close()
    systemd.turn(TRAINING, AT)


def test_the_status_says_where_the_training_stands_and_how_old_the_newest_stored_pair_is(
    systemd: Systemd, manager: Manager, clock: Clock
) -> None:
    systemd.heard("progress", {"epochs": 10, "batches": 625, "batch_seconds": 0.25})
    systemd.heard("stored", {})
    clock.advance(12)
    systemd.turn(TRAINING, AT)
    assert manager.heard() == ["STATUS=epoch 3/10, batch 412/625, 26 %, about 19 min left, last stored 12 s ago"]


def test_the_status_is_sent_every_five_seconds_and_with_each_phase(
    systemd: Systemd, manager: Manager, clock: Clock
) -> None:
    systemd.turn(TRAINING, AT)
    systemd.turn(TRAINING, AT._replace(batch=413))
    assert manager.heard() == ["STATUS=epoch 3, batch 412, nothing stored yet"]
    clock.advance(5)
    systemd.turn(TRAINING, AT._replace(batch=413))
    systemd.turn(State(phase=Phase.STARTING), AT)
    assert manager.heard() == ["STATUS=epoch 3, batch 413, nothing stored yet", "STATUS=starting the command"]


def test_a_status_is_one_line_whatever_a_notice_says(systemd: Systemd, manager: Manager) -> None:
    systemd.turn(State(notices=(NoticeStands("spot\nREADY=1"),)), Progress())
    assert manager.heard() == ["STATUS=waiting: spot READY=1"]


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_a_status(phase: Phase) -> None:
    state = State(phase=phase, exit_code=Exit.STOPPED, deadline=50.0, retry_at=3.0, stopping="SIGTERM")
    assert status(state, AT, Course(10), None, 0.0)


def test_a_drain_shows_its_reason_and_the_time_that_is_left() -> None:
    state = State(phase=Phase.DRAINING, stopping="SIGTERM", deadline=98.0)
    assert status(state, AT, Course(10), 3.0, 0.0) == (
        "draining (SIGTERM), 98 s left: epoch 3/10, batch 412, last stored 3 s ago"
    )


def test_the_watchdog_is_fed_at_half_of_its_time_and_only_by_turns(
    watched: Callable[..., Systemd], manager: Manager, clock: Clock
) -> None:
    systemd = watched()
    assert systemd.interval == 15
    fed = []
    for _ in range(9):
        systemd.turn(TRAINING, AT)
        fed.append("WATCHDOG=1" in manager.heard())
        clock.advance(15)
    assert fed == [True, False] * 4 + [True]


def test_a_watchdog_for_another_process_is_not_fed(watched: Callable[..., Systemd], manager: Manager) -> None:
    watched(WATCHDOG_PID="1").turn(TRAINING, AT)
    assert "WATCHDOG=1" not in manager.heard()
    watched(WATCHDOG_PID=str(os.getpid())).turn(TRAINING, AT)
    assert "WATCHDOG=1" in manager.heard()


@pytest.mark.parametrize("usec", ["", "0", "-1", "soon"])
def test_a_watchdog_that_is_off_is_not_fed(watched: Callable[..., Systemd], manager: Manager, usec: str) -> None:
    watched(WATCHDOG_USEC=usec).turn(TRAINING, AT)
    assert "WATCHDOG=1" not in manager.heard()


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.FLUSHING])
def test_a_stop_is_announced_once_and_its_timeout_extended_while_there_is_time(
    systemd: Systemd, manager: Manager, clock: Clock, phase: Phase
) -> None:
    state = State(phase=phase, deadline=clock() + 30)
    heard = []
    for _ in range(4):
        systemd.turn(state, AT)
        heard.append([line for line in manager.heard() if not line.startswith("STATUS")])
        clock.advance(10)
    assert heard == [
        ["STOPPING=1", "EXTEND_TIMEOUT_USEC=20000000"],
        ["EXTEND_TIMEOUT_USEC=20000000"],
        ["EXTEND_TIMEOUT_USEC=15000000"],
        ["EXTEND_TIMEOUT_USEC=5000000"],
    ]
    systemd.turn(state, AT)
    assert not any(line.startswith("EXTEND") for line in manager.heard())


def test_an_ending_feeds_the_watchdog_and_extends_whatever_timeout_runs(
    watched: Callable[..., Systemd], manager: Manager, clock: Clock
) -> None:
    systemd = watched(WATCHDOG_USEC="2000000")
    heard = []
    for _ in range(5):
        systemd.ending()
        heard.append(manager.heard())
        clock.advance(0.25)
    extended = "EXTEND_TIMEOUT_USEC=20000000"
    assert heard == [["WATCHDOG=1", extended], [], [extended], [], ["WATCHDOG=1", extended]]


def test_an_ending_that_nobody_watches_only_extends(systemd: Systemd, manager: Manager) -> None:
    systemd.ending()
    assert manager.heard() == ["EXTEND_TIMEOUT_USEC=20000000"]


def test_a_training_that_ends_by_itself_is_not_stopping(systemd: Systemd, manager: Manager) -> None:
    """Its last pairs may take as long as the store is away."""
    systemd.turn(State(phase=Phase.FLUSHING), AT)
    systemd.turn(TRAINING, AT)
    assert not any(line.startswith(("STOPPING", "EXTEND")) for line in manager.heard())


def test_the_end_is_named_with_its_code(systemd: Systemd, manager: Manager) -> None:
    systemd.turn(State(phase=Phase.DONE, exit_code=Exit.COMPLETE), AT)
    assert manager.heard() == [
        "STATUS=exit 0: training is complete, and all checkpoints and artifacts are in the store"
    ]


def test_the_end_is_told_as_the_last_line_tells_it(systemd: Systemd, manager: Manager) -> None:
    systemd.heard("exit", {"text": "the command ended well; it stored no checkpoint (exit 0)", "code": 0})
    systemd.turn(State(phase=Phase.DONE, exit_code=Exit.COMPLETE), AT)
    assert manager.heard() == ["STATUS=the command ended well; it stored no checkpoint (exit 0)"]


def test_the_journal_is_known_by_the_stream_that_systemd_names(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        assert is_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not is_journal(stream, {})
    assert not is_journal(stream, {"JOURNAL_STREAM": "1:1"}), "it is closed"
    assert not is_journal(None, {"JOURNAL_STREAM": "1:1"})

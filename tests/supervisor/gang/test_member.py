"""A member's supervisor in a process of its own, for its signals are the process's. Rank 0 is a hub of the test's."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.core.errors import Exit
from holdfast.core.machine.events import NoticeStands
from holdfast.spool import Spool
from holdfast.supervisor.notices.handed import Handed, notice_file
from integration.daemons import Daemon, Machines, machines

from .members import PlayedGang, in_thread, wait_until

RUN = "00001-count"
WAITS = ["sh", "-c", "echo ready; exec sleep 60"]


@pytest.fixture
def park(tmp_path: Path) -> Iterator[Machines]:
    with machines(str(tmp_path / "store"), tmp_path / "machines", {}) as found:
        yield found


@pytest.fixture
def hub(park: Machines, tmp_path: Path) -> Iterator[PlayedGang]:
    """Rank 0's, which the run's lease tells of."""
    with contextlib.closing(PlayedGang(2, Spool(tmp_path / RUN))) as gang:
        folder = Path(park.store) / RUN
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        lease = {"state": "held", "expiry": 3000, "gang": gang.hub.announcement}
        (folder / "lease.json").write_text(json.dumps(lease))
        yield gang


def member(park: Machines, *more: str, command: list[str] = WAITS) -> Daemon:
    return park.start("rank-1", "--rank", "1", "--ranks", "2", *more, command=command)


def runs(gang: PlayedGang) -> None:
    """All ranks start their commands; rank 0's is none."""
    gathering = in_thread(gang.gathers)
    gathering.join()
    gang.hub.begins()


def test_nobody_says_that_a_state_is_stored_where_rank_0_is_lost_in_a_stop(park: Machines, hub: PlayedGang) -> None:
    daemon = member(park)
    runs(hub)
    daemon.until("ready")
    daemon.process.terminate()
    assert isinstance(hub.event(), NoticeStands)
    hub.close()
    assert daemon.wait() == Exit.UNSTORED
    assert "nobody knows whether the last state is stored" in daemon.text


def test_nothing_is_lost_with_a_rank_0_that_is_lost_before_anything_was_trained(
    park: Machines, hub: PlayedGang
) -> None:
    daemon = member(park)
    wait_until(lambda: any("gang-joined" in one for one in hub.told))
    daemon.process.terminate()
    assert isinstance(hub.event(), NoticeStands)
    hub.close()
    assert daemon.wait() == Exit.STOPPED


def test_a_machine_that_is_to_go_away_before_the_commands_start_takes_no_other_along(
    park: Machines, hub: PlayedGang
) -> None:
    daemon = member(park)
    in_thread(hub.gathers).join()
    file = notice_file(park.work_dir("rank-1"), "count")
    file.write_bytes(Handed("slurm", None).to_json())
    daemon.until("nothing is started while the notice stands")
    wait_until(lambda: any("gang-lost" in one for one in hub.told))
    assert hub.events.empty(), "rank 0 waits for another machine of that rank"
    assert daemon.terminate() == Exit.STOPPED

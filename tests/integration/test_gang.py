"""Several machines that train one model together, as real processes on loopback."""

from __future__ import annotations

import functools
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import Exit
from holdfast.core.runs import RunId
from holdfast.inspect.report.document import document
from holdfast.inspect.report.read import read
from holdfast.store import StoreSettings, open_store
from holdfast.store.catalog import list_pairs
from holdfast.supervisor.notices.handed import Handed, notice_file

from .daemons import SCRIPTS, Daemon, Machines, machines, wait_for

RANKS = [sys.executable, str(SCRIPTS / "ranks.py")]
RUN = "00001-count"
WHOLE = pytest.mark.whole


class Gang:
    """``ranks`` machines that are started together, and again where they are to be."""

    def __init__(
        self, park: Machines, ranks: int, command: list[str] = RANKS, name: str = "rank", **environment: str
    ) -> None:
        self.park = park
        self.command = command
        self.name = name
        self.ranks = ranks
        self.environment = environment
        self.daemons = [self.start(rank) for rank in range(ranks)]

    def start(self, rank: int, *more: str) -> Daemon:
        options = ("--rank", str(rank), "--ranks", str(self.ranks), "--rendezvous", "store", "--drain-time", "20")
        return self.park.start(f"{self.name}-{rank}", *options, *more, command=self.command, **self.environment)

    def again(self) -> None:
        self.daemons = [self.start(rank) for rank in range(self.ranks)]

    def until_step(self, step: int) -> None:
        self.park.until_step(f"{self.name}-0", step, self.daemons[0])

    def codes(self) -> list[int]:
        return [daemon.wait() for daemon in self.daemons]

    def results(self) -> set[str]:
        """What each rank printed at its end, without its number."""
        lines = [line for daemon in self.daemons for line in daemon.lines if " done " in line]
        assert len(lines) == self.ranks
        return {line.partition(" done ")[2] for line in lines}

    def newest(self) -> int:
        return list_pairs(open_store(self.park.store, StoreSettings()), RUN)[0].step


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], set[str]]:
    """The result of a gang of so many ranks that nothing interrupted."""

    @functools.cache
    def results(ranks: int) -> set[str]:
        folder = tmp_path_factory.mktemp("undisturbed")
        with machines(str(folder / "store"), folder / "machines", {}) as park:
            gang = Gang(park, ranks, PACE="0")
            assert gang.codes() == [Exit.COMPLETE] * ranks
            return gang.results()

    return results


def test_a_gang_that_nothing_interrupts_ends_complete_with_one_state(undisturbed: Callable[[int], set[str]]) -> None:
    assert len(undisturbed(2)) == 1


def test_what_each_rank_prints_is_in_its_log(local_park: Machines) -> None:
    gang = Gang(local_park, 2, PACE="0")
    assert gang.codes() == [Exit.COMPLETE, Exit.COMPLETE]
    for rank in range(2):
        log = (local_park.work_dir(f"rank-{rank}") / RUN / "log.txt").read_text()
        assert f"rank {rank} from step 0" in log
    store = open_store(local_park.store, StoreSettings())
    assert b"rank 0 from step 0" in store.get(f"{RUN}/log-i1.txt")[0]


@pytest.mark.parametrize(("ranks", "asked"), [(2, 1), pytest.param(3, 2, marks=WHOLE)])
def test_a_stop_at_one_rank_stops_all_at_one_batch_and_they_resume_exactly(
    local_park: Machines, undisturbed: Callable[[int], set[str]], ranks: int, asked: int
) -> None:
    gang = Gang(local_park, ranks, EVERY="1000")
    gang.until_step(13)
    gang.daemons[asked].process.send_signal(signal.SIGTERM)
    assert gang.codes() == [Exit.STOPPED] * ranks
    stopped = gang.newest()
    assert stopped >= 13
    gang.again()
    assert gang.codes() == [Exit.COMPLETE] * ranks
    assert all(f"rank {rank} from step {stopped}" in daemon.text for rank, daemon in enumerate(gang.daemons))
    assert gang.results() == undisturbed(ranks)


@WHOLE
def test_all_machines_that_are_asked_to_stop_at_once_stop_as_one(
    local_park: Machines, undisturbed: Callable[[int], set[str]]
) -> None:
    gang = Gang(local_park, 2, EVERY="1000")
    gang.until_step(5)
    for daemon in gang.daemons:
        daemon.process.send_signal(signal.SIGTERM)
    assert gang.codes() == [Exit.STOPPED, Exit.STOPPED]
    gang.again()
    assert gang.codes() == [Exit.COMPLETE, Exit.COMPLETE]
    assert gang.results() == undisturbed(2)


@pytest.mark.parametrize("lost", [1, pytest.param(0, marks=WHOLE)])
def test_a_machine_that_vanishes_is_one_interruption_and_the_others_wait_for_its_successor(
    local_park: Machines, undisturbed: Callable[[int], set[str]], lost: int
) -> None:
    gang = Gang(local_park, 2)
    gang.until_step(15)
    gang.daemons[lost].process.kill()
    gang.daemons[lost].wait()
    gang.daemons[lost] = gang.start(lost)
    assert gang.codes() == [Exit.COMPLETE, Exit.COMPLETE]
    assert gang.results() == undisturbed(2)
    said = [kind for rank in (0, 1) for kind in local_park.kinds(f"rank-{rank}")]
    assert "gang-lost" in said
    assert "crashed" not in said, "it is no failure of the command"
    told = document(read(open_store(local_park.store, StoreSettings()), RunId(1, "count")), time.time())
    assert f"{2 - lost} start" in told["verdict"]
    assert " on 2 machines, 1 interruption, 0 batches lost, " in told["verdict"]
    assert [one["reason"].partition(" (")[0] for one in told["interruptions"]] == [
        "rank 1" if lost else "ended without a word: killed, or the machine vanished"
    ]


def test_a_command_that_is_killed_on_one_rank_is_started_again_on_all(
    local_park: Machines, undisturbed: Callable[[int], set[str]]
) -> None:
    gang = Gang(local_park, 2)
    gang.until_step(15)
    gang.daemons[1].child().kill()
    assert gang.codes() == [Exit.COMPLETE, Exit.COMPLETE]
    assert gang.results() == undisturbed(2)
    assert "the command failed (rank 1: killed by SIGKILL)" in gang.daemons[0].text
    assert local_park.kinds("rank-0").count("crashed") == 1


@WHOLE
def test_a_rank_that_fails_says_why_in_the_words_of_its_own_exception(
    local_park: Machines, undisturbed: Callable[[int], set[str]], tmp_path: Path
) -> None:
    gang = Gang(local_park, 2, FAIL_AT="25", FAILED=str(tmp_path / "failed"))
    assert gang.codes() == [Exit.COMPLETE, Exit.COMPLETE]
    assert gang.results() == undisturbed(2)
    assert "rank 1: " in gang.daemons[0].text


@WHOLE
def test_a_process_that_gets_the_signal_itself_does_not_stop_alone(
    local_park: Machines, undisturbed: Callable[[int], set[str]]
) -> None:
    gang = Gang(local_park, 2, EVERY="1000")
    gang.until_step(13)
    gang.daemons[1].child().terminate()
    assert gang.codes() == [Exit.STOPPED, Exit.STOPPED]
    gang.again()
    assert gang.codes() == [Exit.COMPLETE, Exit.COMPLETE]
    assert gang.results() == undisturbed(2)


@WHOLE
def test_a_save_that_the_clock_asks_for_is_done_at_one_boundary_by_all(
    local_park: Machines, undisturbed: Callable[[int], set[str]]
) -> None:
    gang = Gang(local_park, 2, EVERY="0.3s", PACE="0.03")
    wait_for(lambda: "stored" in local_park.kinds("rank-0"), "a pair in the store")
    gang.daemons[0].process.kill()
    gang.daemons[0].wait()
    gang.daemons[0] = gang.start(0)
    assert gang.codes() == [Exit.COMPLETE, Exit.COMPLETE]
    assert gang.results() == undisturbed(2)
    assert "rank 0 from step 0" not in gang.daemons[0].text


def test_a_gang_waits_for_its_last_rank_and_says_for_which(local_park: Machines) -> None:
    first = local_park.start("rank-0", "--rank", "0", "--ranks", "2", "--rendezvous", "store", command=RANKS)
    first.until("waiting for rank 1 of 2")
    assert first.terminate() == Exit.STOPPED


def test_a_member_without_a_rank_0_says_what_it_waits_for_and_can_be_stopped(local_park: Machines) -> None:
    member = local_park.start("rank-1", "--rank", "1", "--ranks", "2", command=RANKS)
    member.until("rank 1 waits for rank 0")
    assert member.terminate() == Exit.STOPPED


def test_a_member_on_a_machine_that_is_going_away_waits_and_joins_nobody(local_park: Machines) -> None:
    """A unit would start it again and again, and each time it would take the whole gang along."""
    first = local_park.start("rank-0", "--rank", "0", "--ranks", "2", "--rendezvous", "store", command=RANKS)
    first.until("waiting for rank 1 of 2")
    file = notice_file(local_park.work_dir("rank-1"), "count")
    file.parent.mkdir(parents=True)
    file.write_bytes(Handed("slurm", None).to_json())
    member = local_park.start("rank-1", "--rank", "1", "--ranks", "2", command=RANKS)
    member.until("nothing is started while the notice stands")
    assert member.terminate() == Exit.STOPPED
    assert first.process.poll() is None
    assert "slurm" not in first.text


def test_a_member_under_systemd_feeds_its_watchdog_while_it_waits(local_park: Machines, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        member = local_park.start("rank-1", "--rank", "1", "--ranks", "2", command=RANKS, **told)
        fed = 0
        while fed < 3:
            fed += manager.recv(4096).count(b"WATCHDOG=1")
        assert member.terminate() == Exit.STOPPED


@WHOLE
def test_a_second_machine_of_one_rank_is_not_let_in(
    local_park: Machines, undisturbed: Callable[[int], set[str]]
) -> None:
    gang = Gang(local_park, 2, PACE="0.05")
    gang.until_step(5)
    second = local_park.start("other", "--rank", "1", "--ranks", "2", "--rendezvous", "store", command=RANKS)
    second.until("rank 1 is there already")
    assert gang.codes() == [Exit.COMPLETE, Exit.COMPLETE]
    assert second.wait() == Exit.COMPLETE, "the run is complete"
    assert gang.results() == undisturbed(2)
    assert "rank 1 from" not in second.text


def test_a_run_of_two_machines_is_not_continued_by_another_number_of_them(local_park: Machines) -> None:
    gang = Gang(local_park, 2)
    gang.until_step(15)
    gang.daemons[0].process.send_signal(signal.SIGTERM)
    assert gang.codes() == [Exit.STOPPED, Exit.STOPPED]
    alone = local_park.start("rank-0", command=RANKS)
    assert alone.wait() == Exit.USAGE
    assert "was trained by 2 machines, and now --ranks is 1" in alone.text


@WHOLE
def test_of_two_gangs_of_one_run_one_trains_and_the_other_takes_over_from_it(
    local_park: Machines, undisturbed: Callable[[int], set[str]]
) -> None:
    """A replaced group, whose old machines still live."""
    old = Gang(local_park, 2, name="old", PACE="0.1")
    old.until_step(5)
    new = Gang(local_park, 2, name="new")
    new.daemons[0].until("waiting for the lease")
    new.daemons[1].until("rank 1 is there already")
    old.daemons[1].process.send_signal(signal.SIGTERM)
    assert old.codes() == [Exit.STOPPED, Exit.STOPPED]
    stopped = old.newest()
    assert new.codes() == [Exit.COMPLETE, Exit.COMPLETE]
    assert f"rank 1 from step {stopped}" in new.daemons[1].text
    assert new.results() == undisturbed(2)


@WHOLE
def test_a_loop_under_multi_worker_mirrored_strategy_resumes_exactly(tmp_path: Path) -> None:
    words = [sys.executable, str(SCRIPTS / "multi_worker.py")]
    with machines(str(tmp_path / "store"), tmp_path / "machines", {}) as park:
        gang = Gang(park, 2, words, PACE="0")
        assert gang.codes() == [Exit.COMPLETE, Exit.COMPLETE]
        undisturbed = gang.results()
    assert len(undisturbed) == 1
    with machines(str(tmp_path / "store-2"), tmp_path / "machines-2", {}) as park:
        gang = Gang(park, 2, words)
        gang.until_step(10)
        gang.daemons[1].process.send_signal(signal.SIGTERM)
        assert gang.codes() == [Exit.STOPPED, Exit.STOPPED]
        gang.again()
        gang.until_step(36)
        gang.daemons[1].process.kill()
        gang.daemons[1].wait()
        gang.daemons[1] = gang.start(1)
        assert gang.codes() == [Exit.COMPLETE, Exit.COMPLETE]
        assert gang.results() == undisturbed


@WHOLE
def test_a_rank_that_hangs_does_not_keep_a_stop_waiting_without_a_bound(local_park: Machines) -> None:
    gang = Gang(local_park, 2, STUCK_AT="10", EVERY="5")
    gang.until_step(10)
    gang.daemons[0].process.send_signal(signal.SIGTERM)
    assert set(gang.codes()) <= {Exit.STOPPED, Exit.UNSTORED}

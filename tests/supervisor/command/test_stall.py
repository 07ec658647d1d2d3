from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest

from holdfast.supervisor.command.stall import (
    BYTES_PER_SECOND,
    CPU_SHARE,
    LONGEST_STEP,
    IdleTime,
    Stall,
    Vitals,
    describe,
    measure,
)
from integration.daemons import wait_for

TIMEOUT = 100.0
ENOUGH_CPU = CPU_SHARE * TIMEOUT
ENOUGH_BYTES = int(BYTES_PER_SECOND * TIMEOUT)


def first_stall(
    vitals: Callable[[int], Vitals],
    executed: Callable[[int], int] = lambda second: 7,
    seconds: int = 1000,
    clock: Callable[[int], float] = float,
) -> float | None:
    """When a command that is looked at once a second is found to hang; the other two are by the second."""
    stall = Stall(TIMEOUT)
    for second in range(seconds):
        if stall.look(executed(second), clock(second), lambda at=second: vitals(at)) is not None:  # type: ignore[misc]
            return clock(second)
    return None


def nothing(second: int) -> Vitals:
    return Vitals(cpu=30.0, moved=10**9, held=10**9)


def test_no_batch_no_cpu_and_no_bytes_for_the_timeout_is_a_hang() -> None:
    found = first_stall(nothing)
    assert found is not None
    assert TIMEOUT <= found <= TIMEOUT * 1.1


def test_the_seconds_without_a_sign_of_life_are_told() -> None:
    stall = Stall(TIMEOUT)
    told = [stall.look(7, float(second), Vitals) for second in range(108)]
    assert [seconds for seconds in told if seconds is not None] == [pytest.approx(TIMEOUT, rel=0.06)]


def idle_for(vitals: Callable[[int], Vitals], executed: Callable[[int], int] = lambda second: 7) -> float:
    """After 100 looks, one a second."""
    idle = IdleTime()
    return [
        idle.look(executed(second), float(second), lambda at=second: vitals(at))  # type: ignore[misc]
        for second in range(100)
    ][-1]


def test_a_command_is_idle_since_it_last_did_a_batch_or_used_cpu_or_moved_bytes() -> None:
    assert idle_for(nothing) >= 95.0
    assert idle_for(nothing, executed=lambda second: min(second, 60)) == pytest.approx(39.0, abs=4.0)
    assert idle_for(lambda second: Vitals(cpu=min(second, 60) * 0.5)) == pytest.approx(39.0, abs=4.0)
    assert idle_for(lambda second: Vitals(moved=second * 2 * BYTES_PER_SECOND)) < 4.0


def test_batches_are_life() -> None:
    assert first_stall(nothing, executed=lambda second: second // 90) is None


def test_the_time_is_counted_from_the_last_batch() -> None:
    found = first_stall(nothing, executed=lambda second: min(second, 500))
    assert found is not None
    assert 500 + TIMEOUT <= found <= 500 + TIMEOUT * 1.1


def test_batches_of_a_start_that_goes_back_are_life_as_well() -> None:
    """A script that begins another board anew counts from 0 again."""
    assert first_stall(nothing, executed=lambda second: -(second // 90)) is None


def test_cpu_is_life_in_the_tracing_and_the_compiling_of_a_step() -> None:
    assert first_stall(lambda second: Vitals(cpu=float(second))) is None


def test_a_little_cpu_all_the_time_is_none() -> None:
    assert first_stall(lambda second: Vitals(cpu=second * CPU_SHARE / 2)) is not None


def test_one_burst_of_cpu_in_each_window_is_life() -> None:
    assert first_stall(lambda second: Vitals(cpu=second // 80 * 3 * ENOUGH_CPU)) is None


def test_bytes_read_or_written_are_life_in_the_loading_of_data() -> None:
    assert first_stall(lambda second: Vitals(moved=second * BYTES_PER_SECOND * 2)) is None


def test_a_progress_bar_is_none() -> None:
    assert first_stall(lambda second: Vitals(moved=second * 1000)) is not None


def test_what_a_socket_brings_into_memory_is_life() -> None:
    assert first_stall(lambda second: Vitals(held=second * BYTES_PER_SECOND * 2)) is None


def test_processes_that_come_and_go_are_none() -> None:
    assert first_stall(lambda second: Vitals(held=second % 2 * 10 * ENOUGH_BYTES)) is not None


def test_a_hang_after_much_work_is_found_within_the_timeout_and_a_little() -> None:
    found = first_stall(lambda second: Vitals(cpu=min(second, 333)))
    assert found is not None
    assert 333 + TIMEOUT * 0.98 <= found <= 333 + TIMEOUT * 1.2


def test_processes_that_take_their_cpu_with_them_do_not_look_like_a_hang_of_the_others() -> None:
    """Where the parent ignores SIGCHLD, what a child used is counted nowhere when it ended."""
    assert first_stall(lambda second: Vitals(cpu=second % 50)) is None


def test_while_the_machine_stands_still_nothing_is_a_hang() -> None:
    """The loop did not turn, so neither did the command."""
    assert first_stall(nothing, clock=lambda second: second * 90.0) is None
    jump = first_stall(nothing, clock=lambda second: second if second < 60 else second + 86_400.0)
    assert jump is not None
    assert jump >= 86_400 + 60 + TIMEOUT


def test_a_turn_that_took_a_little_long_is_no_standing_still() -> None:
    assert first_stall(nothing, clock=lambda second: second * LONGEST_STEP) is not None


def test_a_training_that_does_batches_is_not_measured() -> None:
    stall, asked = Stall(TIMEOUT), count()
    for second in range(1000):
        stall.look(second, float(second), lambda: Vitals(next(asked)))
    assert next(asked) == 0


def test_a_silent_one_is_measured_now_and_then() -> None:
    stall, asked = Stall(1800.0), count()
    for second in range(1000):
        stall.look(7, float(second), lambda: Vitals(next(asked)))
    assert next(asked) <= 101


def test_a_hang_that_stays_is_told_again_after_another_timeout() -> None:
    stall = Stall(TIMEOUT)
    told = [second for second in range(330) if stall.look(7, float(second), Vitals) is not None]
    assert len(told) == 3


# --- real processes ------------------------------------------------------------------------------------------------

BUSY = "sum(range(8_000_000))"
WORK = "print('ready', flush=True); input()"


@pytest.fixture
def begin() -> Iterator[Callable[[str], psutil.Process]]:
    """Starts Python code, and returns when it prints a line."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str) -> psutil.Process:
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return psutil.Process(process.pid)

    yield start
    for process in started:
        process.kill()
        process.communicate()


def tree(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


Begin = Callable[[str], psutil.Process]


def test_what_waits_uses_nothing(begin: Begin) -> None:
    process = begin(WORK)
    before = measure(tree(process))
    assert before.held > 1_000_000
    after = measure(tree(process))
    assert after.moved == before.moved
    assert after.cpu == pytest.approx(before.cpu, abs=0.02)


def test_the_cpu_of_children_counts_while_they_live_and_when_they_ended(begin: Begin) -> None:
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{BUSY}']); {WORK}"
    alone = measure([begin(WORK)]).cpu
    assert measure([begin(code)]).cpu > alone + 0.02
    living = begin(f'import subprocess, sys; subprocess.Popen([sys.executable, "-c", "{BUSY}; {WORK}"]).wait()')
    assert measure(tree(living)).cpu > measure([living]).cpu + 0.02


def test_bytes_of_files_and_of_pipes_count_and_those_that_are_received_are_held(begin: Begin, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(bytes(5_000_000))
    alone = measure([begin(WORK)])
    assert measure([begin(f"open({str(file)!r}, 'rb').read(); {WORK}")]).moved >= 5_000_000
    received = (
        "import socket, threading; a, b = socket.socketpair(); "
        "threading.Thread(target=lambda: (a.sendall(bytes(50_000_000)), a.close())).start(); "
        f"data = b.makefile('rb').read(); {WORK}"
    )
    assert measure([begin(received)]).held >= alone.held + 50_000_000


def test_a_process_that_is_gone_or_a_zombie_counts_as_nothing(begin: Begin) -> None:
    code = "import os, sys; p = os.fork() or os._exit(0); print(p, flush=True); input()"
    (zombie,) = begin(code).children()
    wait_for(lambda: zombie.status() == psutil.STATUS_ZOMBIE, "a zombie")
    assert measure([zombie, psutil.Process(os.getpid())]).held > 0
    zombie.parent().kill()  # type: ignore[union-attr]
    wait_for(lambda: not zombie.is_running(), "its end")
    assert measure([zombie]) == Vitals()


def test_a_tree_is_described_by_what_can_be_seen_from_outside(begin: Begin) -> None:
    process = begin(f"import threading; threading.Thread(target=threading.Event().wait, daemon=True).start(); {WORK}")
    name = process.name()
    wait_for(lambda: process.status() == psutil.STATUS_SLEEPING, "its sleep")
    assert describe([process]) == [{"pid": process.pid, "name": name, "status": "sleeping", "threads": 2}]
    process.kill()
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, "its end")
    assert len(describe([process] * 100)) <= 50

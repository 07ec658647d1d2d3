"""SIGTERM in a process that trains: taken away below Python, and in what the process forks."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.core.errors import Exit
from holdfast.training.session.signals import TakenSignal

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def heard() -> list[int]:
    return []


@pytest.fixture
def sigterm(heard: list[int]) -> Iterator[TakenSignal]:
    before = signal.getsignal(signal.SIGTERM)
    sigterm = TakenSignal(signal.SIGTERM, lambda number, frame: heard.append(number))
    sigterm.take()
    yield sigterm
    sigterm.give_back()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_handler_that_was_replaced_below_python_is_put_back(sigterm: TakenSignal, heard: list[int]) -> None:
    ignore = ctypes.c_void_p(1)
    ctypes.CDLL(None).signal(int(signal.SIGTERM), ignore)
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == []
    sigterm.keep()
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM]


def test_a_handler_that_the_script_replaced_is_left_alone(sigterm: TakenSignal, heard: list[int]) -> None:
    ours = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sigterm.keep()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    signal.signal(signal.SIGTERM, ours)


def in_child(action: Callable[[], int]) -> int:
    """How a fork that does that, and ends with its answer, ended: as os.waitstatus_to_exitcode says it."""
    child = os.fork()
    if child == 0:
        os._exit(action())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_process_has_the_handler_of_before(sigterm: TakenSignal, heard: list[int]) -> None:
    def dies() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    assert in_child(dies) == -signal.SIGTERM
    assert in_child(lambda: signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])) == 0
    os.kill(os.getpid(), signal.SIGTERM)
    assert heard == [signal.SIGTERM], "the process itself has its handler, and receives the signal"


def test_a_signal_in_the_first_moments_of_a_forked_process_ends_it(sigterm: TakenSignal) -> None:
    """It is held back until the handler of before is in place."""
    for _ in range(30):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.read(read, 1)
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM
        os.close(read)
        os.close(write)


def test_without_a_training_a_forked_process_is_left_alone(heard: list[int]) -> None:
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        assert in_child(lambda: (os.kill(os.getpid(), signal.SIGTERM), len(heard))[1]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_loop_whose_handler_is_taken_below_python_stops_with_its_state_stored(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "loses_sigterm.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == Exit.STOPPED, done.stderr
    assert list(tmp_path.glob("*/model-*.json"))

"""In processes of their own, for a signal's handler belongs to the whole process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.training.session.thread_stacks import CANDIDATES, Stacks

FIRST = CANDIDATES[0]


def run(*lines: str) -> subprocess.CompletedProcess[str]:
    code = "\n".join(
        [
            "import os, signal, threading",
            "from holdfast.training.session.thread_stacks import CANDIDATES, Stacks",
            *lines,
        ]
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_all_threads_are_written_while_the_main_one_is_deep_in_a_lock() -> None:
    code = """
import threading
from holdfast.training.session.thread_stacks import Stacks
lock = threading.Lock()
def another_thread():
    print(Stacks().signal, flush=True)
    lock.acquire()
def main_thread():
    lock.acquire()
    threading.Thread(target=another_thread, daemon=True).start()
    lock.acquire()
main_thread()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        process.send_signal(int(process.stdout.readline()))
        seen = ""
        while "in main_thread" not in seen:
            line = process.stderr.readline()
            assert line, f"it ended: {seen}"
            seen += line
        assert "in another_thread" in seen
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


def test_they_are_written_to_what_was_standard_error_at_first() -> None:
    done = run(
        "stacks = Stacks()",
        "os.dup2(os.open('/dev/null', os.O_WRONLY), 2)",
        "signal.raise_signal(stacks.signal)",
    )
    assert "most recent call first" in done.stderr


def test_a_handler_of_the_scripts_is_left_alone() -> None:
    done = run(
        f"signal.signal({FIRST}, lambda number, frame: print('mine'))",
        f"signal.signal({FIRST + 1}, signal.SIG_IGN)",
        f"signal.pthread_sigmask(signal.SIG_BLOCK, [{FIRST + 2}])",
        "stacks = Stacks()",
        f"signal.raise_signal({FIRST})",
        "print(stacks.signal)",
    )
    assert done.stdout.split() == ["mine", str(FIRST + 3)]
    assert done.stderr == ""


def test_a_handler_that_another_language_set_is_left_alone() -> None:
    done = run(
        "import ctypes",
        f"ctypes.CDLL(None).signal({FIRST}, ctypes.cast(ctypes.CDLL(None).abs, ctypes.c_void_p))",
        "print(Stacks().signal)",
    )
    assert done.stdout.split() == [str(FIRST + 1)], done.stderr


def test_signals_that_scripts_use_are_never_taken() -> None:
    assert not {signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN, signal.SIGRTMAX} & set(CANDIDATES)


def test_where_all_are_taken_there_is_none() -> None:
    done = run("[signal.signal(n, signal.SIG_IGN) for n in CANDIDATES]", "print(Stacks().signal)")
    assert done.stdout.split() == ["None"], done.stderr


@pytest.mark.parametrize("content", [None, "", "SigCgt:\t0\n", "SigBlk:\t0\nSigIgn:\t0\nSigCgt:\tnonsense\n"])
def test_where_it_cannot_be_known_what_is_taken_there_is_none(tmp_path: Path, content: str | None) -> None:
    status = tmp_path / "status"
    if content is not None:
        status.write_text(content)
    assert Stacks(status).signal is None


def test_a_process_without_standard_error_does_without() -> None:
    done = run("os.close(2)", "print(Stacks().signal)")
    assert done.stdout.split() == ["None"]


def test_closed_it_gives_the_signal_back() -> None:
    done = run("stacks = Stacks()", "number = stacks.signal", "stacks.close()", "os.kill(os.getpid(), number)")
    assert done.returncode == -FIRST

"""Real processes, below a process that has the reaper."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from holdfast.supervisor.command.child import Child
from integration.daemons import wait_for
from supervisor.command.supervised import DAEMONISED, Start, ended, gone, of

# Sends a guardian SIGTERM as soon as there is one: its interpreter has hardly begun.
HASTY = """
import sys, psutil
supervisor = psutil.Process(int(sys.argv[1]))
found = []
while not found:
    found = [one for one in supervisor.children() if any(word.endswith("guardian.py") for word in one.cmdline())]
found[0].terminate()
"""


@pytest.mark.parametrize(
    ("script", "expected"),
    [("exit 0", (0, 0)), ("exit 3", (3, 0)), ("exit 137", (137, 0)), ("kill -9 $$", (0, 9)), ("kill -15 $$", (0, 15))],
)
def test_the_end_is_told_as_it_was(start: Start, script: str, expected: tuple[int, int]) -> None:
    result = start("/bin/sh", "-c", script).result()
    assert (result["status"], result["signal"]) == expected


def test_a_crash_is_told_by_its_signal_and_leaves_no_core_of_the_guardian(start: Start) -> None:
    assert start(sys.executable, "-c", "import os; os.abort()").result()["signal"] == signal.SIGABRT


@pytest.mark.parametrize(
    ("mode", "error"), [(None, FileNotFoundError), (0o600, PermissionError), (0o755, OSError)], ids=str
)
def test_a_command_that_cannot_be_started_is_an_error_that_says_why(
    tmp_path: Path, mode: int | None, error: type[OSError]
) -> None:
    """It does not exist, is no program, or is one that no kernel can run."""
    command = tmp_path / "command"
    if mode is not None:
        command.write_bytes(b"\0")
        command.chmod(mode)
    with pytest.raises(error, match="command"):
        Child([str(command)], os.environ, 2)


def test_the_command_has_a_session_and_a_group_of_its_own(start: Start) -> None:
    supervised = start("/bin/sh", "-c", "echo ready; sleep 100")
    supervised.until("ready")
    pid = supervised.command.pid
    assert os.getsid(pid) == os.getpgid(pid) == pid == supervised.told
    assert os.getsid(supervised.guardian.pid) != os.getsid(supervised.process.pid)


def test_the_command_gets_the_default_signals_and_nothing_of_the_supervisors_files(start: Start) -> None:
    supervised = start("/bin/sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd | tr '\\n' ' '")
    supervised.result()
    blocked, ignored, files = supervised.output.read_text().splitlines()
    standard = (1 << 31) - 1  # the two above belong to the C library
    assert int(blocked.split()[1], 16) == int(ignored.split()[1], 16) & standard == 0
    assert len(files.split()) <= 4, "0, 1, 2 and the folder that ls reads"


def test_sigterm_reaches_the_whole_tree_other_sessions_and_stopped_processes_too(start: Start) -> None:
    below = "trap 'echo below; exit' TERM; echo one; while :; do sleep 0.05; done"
    script = f"trap 'echo top; wait; exit 7' TERM; setsid sh -c \"{below}\" & echo two; wait; wait"
    supervised = start("/bin/sh", "-c", script)
    supervised.until("one")
    supervised.until("two")
    supervised.command.suspend()
    supervised.tell("terminate")
    assert supervised.result()["status"] == 7
    assert {"top", "below"} <= set(supervised.output.read_text().split())


@pytest.mark.parametrize("by_others", [False, True])
def test_a_sigterm_of_others_is_told_apart_from_the_supervisors_own(start: Start, by_others: bool) -> None:
    """systemd's control-group mode sends one to all processes of a service."""
    supervised = start("/bin/sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    supervised.until("ready")
    supervised.guardian.terminate() if by_others else supervised.tell("terminate")
    result = supervised.result()
    assert (result["status"], result["signalled"]) == (0, by_others)


def test_a_sigterm_that_comes_while_the_guardian_starts_ends_the_command_and_not_the_guardian(start: Start) -> None:
    supervised = start("/bin/sh", "-c", "sleep 100", before=f"{sys.executable} -c '{HASTY}' $$ &")
    result = supervised.result()
    assert (result["signal"], result["signalled"]) == (signal.SIGTERM, True)


def test_a_kill_reaches_what_left_the_session_and_ignores_sigterm(start: Start, pids: Path) -> None:
    supervised = start("/bin/sh", "-c", f"{DAEMONISED.format(pids=pids)}; trap '' TERM; while :; do sleep 0.05; done")
    left = of(pids, 1)
    supervised.tell("kill")
    assert supervised.result()["signal"] == signal.SIGKILL
    ended(left)


def test_what_the_command_leaves_behind_is_ended_before_its_end_is_told(start: Start, pids: Path) -> None:
    supervised = start("/bin/sh", "-c", f"{DAEMONISED.format(pids=pids)}; while [ ! -s {pids} ]; do :; done; exit 4")
    result = supervised.result()
    assert result["status"] == 4
    assert result["orphans"] >= 1, "it was reaped, and counted"
    assert not psutil.pid_exists(int(pids.read_text()))


@pytest.mark.parametrize(
    ("script", "left"),
    [
        ("sleep 1000 & setsid sleep 1000 & exit 0", 2),
        ("sleep 0.1 &", 0),
        ("sleep 1000 & exit 3", 0),
    ],
    ids=["it stays", "it ends by itself", "after a failure it is not counted"],
)
def test_what_a_command_that_ends_well_leaves_running_is_counted(start: Start, script: str, left: int) -> None:
    assert start("/bin/sh", "-c", script).result()["left"] == left


def test_what_heeds_sigterm_may_clean_up_when_the_command_is_gone(start: Start, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    below = f"trap 'echo cleaned; exit' TERM; touch {ready}; while :; do sleep 0.02; done"
    supervised = start("/bin/sh", "-c", f'setsid sh -c "{below}" & while [ ! -e {ready} ]; do :; done')
    supervised.result()
    assert "cleaned" in supervised.output.read_text()


def test_nothing_outlives_a_supervisor_that_was_killed(start: Start, pids: Path) -> None:
    """Not the command, not its children, not what left its session and lost its parent."""
    one = DAEMONISED.format(pids=pids)
    supervised = start("/bin/sh", "-c", f"{one}; sleep 1000 & echo $$ >>{pids}; echo $! >>{pids}; wait")
    left = [*of(pids, 3), supervised.guardian]
    supervised.process.send_signal(signal.SIGKILL)
    supervised.process.wait(60)
    ended(left)


def test_the_command_dies_with_a_guardian_that_was_killed(start: Start, pids: Path) -> None:
    supervised = start("/bin/sh", "-c", f"{DAEMONISED.format(pids=pids)}; echo $$ >>{pids}; while :; do sleep 1; done")
    left = of(pids, 2)
    command = supervised.command
    supervised.guardian.kill()
    wait_for(lambda: gone([command]), "the command's end")
    assert supervised.result()["signal"] == signal.SIGKILL
    ended(left)


def test_the_command_dies_even_if_guardian_and_supervisor_are_killed_at_once(start: Start, pids: Path) -> None:
    """What it started outlives it then: see docs/supervision.md."""
    supervised = start("/bin/sh", "-c", f"echo $$ >>{pids}; while :; do sleep 0.05; done")
    left, guardian = of(pids, 1), supervised.guardian
    guardian.suspend()  # it cannot see the other's end
    supervised.process.kill()
    supervised.process.wait(60)
    guardian.kill()
    ended(left)


LISTENS = "import faulthandler; faulthandler.register(50, file=2); print('ready', flush=True)"


def test_a_process_that_listens_is_asked_for_its_stacks(start: Start) -> None:
    code = f"{LISTENS}\nimport threading\ndef wait_here(): threading.Event().wait()\nwait_here()"
    supervised = start(sys.executable, "-c", code)
    supervised.until("ready")
    supervised.tell(f"stacks {supervised.command.pid} 50")
    supervised.until("asked: 1")
    supervised.until("in wait_here")


def test_what_that_process_forked_is_asked_too_and_what_it_started_is_not(start: Start) -> None:
    lines = [
        LISTENS,
        "import os, subprocess, sys, threading",
        "def the_fork_waits(): threading.Event().wait()",
        "os.fork() or the_fork_waits()",
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])",
        "subprocess.Popen(['sleep', '1000'])",
        "print('all', flush=True)",
        "def the_first_waits(): threading.Event().wait()",
        "the_first_waits()",
    ]
    supervised = start(sys.executable, "-c", "\n".join(lines))
    supervised.until("all")
    command = supervised.command
    wait_for(lambda: sorted(p.name() for p in command.children())[-1] == "sleep", "what it started")
    below = command.children()
    supervised.tell(f"stacks {command.pid} 50")
    supervised.until("asked: 2")
    supervised.until("in the_first_waits")
    supervised.until("in the_fork_waits")
    assert len(below) == 3
    assert all(process.is_running() for process in below)


def test_a_stopped_process_is_woken_to_write_its_stacks(start: Start) -> None:
    supervised = start(sys.executable, "-c", f"{LISTENS}\nwhile True: pass")
    supervised.until("ready")
    command = supervised.command
    command.suspend()
    wait_for(lambda: command.status() == psutil.STATUS_STOPPED, "its stop")
    supervised.tell(f"stacks {command.pid} 50")
    supervised.until("most recent call first")
    assert command.status() != psutil.STATUS_STOPPED


def test_a_process_that_would_die_of_the_signal_is_not_sent_it(start: Start) -> None:
    supervised = start("/bin/sh", "-c", "echo ready; while :; do sleep 0.05; done")
    supervised.until("ready")
    command = supervised.command
    supervised.tell(f"stacks {command.pid} 50")
    supervised.until("asked: 0")
    assert command.is_running()
    supervised.tell("terminate")
    assert supervised.result()["signal"] == signal.SIGTERM


def test_a_process_that_is_not_the_commands_is_not_sent_anything(start: Start) -> None:
    heard = []
    before = signal.signal(50, lambda number, frame: heard.append(number))
    try:
        supervised = start("/bin/sh", "-c", "echo ready; while :; do sleep 0.05; done")
        supervised.until("ready")
        supervised.tell(f"stacks {os.getpid()} 50")
        supervised.until("asked: 0")
        assert heard == []
    finally:
        signal.signal(50, before)

"""Real processes, below a process that has the reaper: the test runner's own children are not to be reaped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from holdfast.supervisor.command.reaper import Ended
from integration.daemons import wait_for

DAEMONISED = "(setsid sh -c 'echo $$ >>{pids}; trap \"\" TERM HUP; while :; do sleep 0.05; done' &)"

# Plays the supervisor: starts the command in its arguments, obeys lines on standard input, prints what came of it.
SUPERVISOR = """
import json, os, sys, threading
from holdfast.supervisor.command.child import Child
from holdfast.supervisor.command.reaper import Reaper

ended = threading.Event()
others = []
def on_exit(pid, how):
    if pid == child.pid:
        child.how = how
        ended.set()
    else:
        others.append(pid)

reaper = Reaper()
reaper.start(on_exit)
child = Child(sys.argv[1:], os.environ, 2)
reaper.expect()
def obey():
    for line in sys.stdin:
        word, *numbers = line.split()
        if word == "stacks":
            print("asked:", child.dump_stacks(*map(int, numbers)), file=sys.stderr, flush=True)
        else:
            {"terminate": child.terminate, "kill": reaper.kill_tree, "close": child.close}[word]()
threading.Thread(target=obey, daemon=True).start()
print(json.dumps({"pid": child.pid, "command": child.command}), flush=True)
ended.wait()
reaper.kill_tree()
how = child.how
print(json.dumps({"status": how.status, "signal": how.signal, "orphans": child.orphans, "others": others}), flush=True)
"""


class Supervised:
    """A command below a process of its own that supervises it."""

    def __init__(self, folder: Path, command: list[str], before: str = "") -> None:
        """The shell that becomes the supervisor has done ``before``."""
        self.output = folder / "output"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                ["/bin/sh", "-c", f'{before}\nexec "$@"', "sh", sys.executable, "-c", SUPERVISOR, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        assert self.process.stdout is not None
        began = json.loads(self.process.stdout.readline())
        self._pid, self.told = began["pid"], began["command"]

    @property
    def guardian(self) -> psutil.Process:
        """While it lives: a command that is over at once takes it along."""
        return psutil.Process(self._pid)

    @property
    def command(self) -> psutil.Process:
        return self.guardian.children()[0]

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        print(word, file=self.process.stdin, flush=True)

    def until(self, text: str) -> None:
        wait_for(lambda: text in self.output.read_text(), f"{text!r}", alive=self.process)

    def result(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found = json.loads(self.process.stdout.readline())
        self.process.wait(60)
        return dict(found)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


Start = Callable[..., Supervised]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Supervised] = []

    def begin(*command: str, before: str = "") -> Supervised:
        started.append(Supervised(tmp_path, list(command), before))
        return started[-1]

    yield begin
    for supervised in started:
        supervised.close()


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    """Where a script writes the pids of what should not survive; whoever does is ended with the test."""
    path = tmp_path / "pids"
    path.touch()
    return path


def of(pids: Path, count: int) -> list[psutil.Process]:
    wait_for(lambda: len(pids.read_text().split()) >= count, f"{count} pids")
    return [psutil.Process(int(pid)) for pid in pids.read_text().split()]


def gone(processes: list[psutil.Process]) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return all(not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in processes)
    return True


def ended(processes: list[psutil.Process]) -> None:
    try:
        wait_for(lambda: gone(processes), f"the end of {processes}", patience=20)
    finally:
        kill(processes)


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.mark.parametrize(
    ("script", "expected"),
    [("exit 0", (0, 0)), ("exit 3", (3, 0)), ("exit 137", (137, 0)), ("kill -9 $$", (0, 9)), ("kill -15 $$", (0, 15))],
)
def test_the_end_is_told_as_it_was(start: Start, script: str, expected: tuple[int, int]) -> None:
    result = start("/bin/sh", "-c", script).result()
    assert (result["status"], result["signal"]) == expected


def test_a_crash_is_told_by_its_signal_and_leaves_no_core_of_the_guardian(start: Start) -> None:
    assert start(sys.executable, "-c", "import os; os.abort()").result()["signal"] == signal.SIGABRT


def test_a_command_that_cannot_be_started_says_so(start: Start) -> None:
    supervised = start("/nonexistent/command")
    assert supervised.result()["status"] == 1
    assert "/nonexistent/command: No such file or directory" in supervised.output.read_text()


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


def test_what_the_supervisor_had_before_is_left_alone_and_is_no_orphan(start: Start, pids: Path) -> None:
    """A shell's background jobs become holdfast's children by exec: one of this session, one of its own, one below."""
    job = "sh -c 'sleep 1000 & echo $! >>{pids}; echo $$ >>{pids}; wait'"
    before = f"{job} & setsid {job} & true & while [ $(wc -l <{{pids}}) -lt 4 ]; do :; done".format(pids=pids)
    supervised = start("/bin/sh", "-c", "exit 3", before=before)
    result = supervised.result()
    theirs = of(pids, 4)
    try:
        assert (result["status"], result["orphans"], result["others"]) == (3, 0, [])
        assert not any(gone([process]) for process in theirs)
    finally:
        kill(theirs)


def test_what_it_had_before_is_still_reaped(start: Start, pids: Path) -> None:
    before = f"sleep 1000 & echo $! >>{pids}"
    supervised = start("/bin/sh", "-c", "while :; do sleep 0.05; done", before=before)
    theirs = of(pids, 1)
    kill(theirs)
    wait_for(lambda: not psutil.pid_exists(theirs[0].pid), "the end of the zombie")
    supervised.tell("kill")
    assert theirs[0].pid not in supervised.result()["others"]


def test_what_that_started_since_and_left_to_the_supervisor_is_left_alone(start: Start, pids: Path) -> None:
    began = pids.with_name("began")
    late = f"(while [ ! -e {began} ]; do sleep 0.02; done; sleep 1000 & echo $! >>{pids})"
    script = f"touch {began}; while [ ! -s {pids} ]; do sleep 0.02; done"
    supervised = start("/bin/sh", "-c", script, before=f"{late} &")
    theirs = of(pids, 1)
    try:
        assert supervised.result()["status"] == 0
        assert not gone(theirs)
    finally:
        kill(theirs)


def test_what_the_command_left_to_the_supervisor_is_killed_beside_that(start: Start, pids: Path) -> None:
    """A guardian that was killed leaves what it guarded to the supervisor."""
    before = f"sleep 1000 & echo $! >>{pids}"
    supervised = start("/bin/sh", "-c", f"{DAEMONISED.format(pids=pids)}; sleep 1000", before=before)
    theirs, left = of(pids, 2)
    supervised.guardian.kill()
    assert supervised.result()["signal"] == signal.SIGKILL
    try:
        ended([left])
        assert not gone([theirs])
    finally:
        kill([theirs])


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


@pytest.mark.parametrize(
    ("how", "out_of_memory", "text"),
    [
        (Ended(3), False, "exit 3"),
        (Ended(0, 9), False, "killed by SIGKILL"),
        (Ended(0, 9), True, "killed by SIGKILL: out of memory"),
        (Ended(1), True, "exit 1, after the kernel killed one of it: out of memory"),
        (Ended(0, 40), False, "killed by signal 40"),
    ],
)
def test_an_end_is_described(how: Ended, out_of_memory: bool, text: str) -> None:
    assert how.describe(out_of_memory) == text
    assert how.code == (128 + how.signal if how.signal else how.status)

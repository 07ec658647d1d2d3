"""Commands below a process that has the reaper: the test runner's own children are not to be reaped."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

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
print(json.dumps({"status": how.status, "signal": how.signal, "orphans": child.orphans, "others": others,
    "left": child.left_running, "signalled": child.signalled}), flush=True)
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

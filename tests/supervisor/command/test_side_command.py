"""Real commands below a process that has the reaper: the test runner's own children are not to be reaped."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Starts the command in its arguments while the reaper waits for all, and prints what it hears of the end.
ASIDE = """
import os, sys, time
from holdfast.supervisor.command.side_command import SideCommand
from holdfast.supervisor.command.reaper import Reaper

reaper = Reaper()
reaper.start(lambda pid, ended: None)
os.posix_spawnp("true", ["true"], os.environ)
reaper.expect()
try:
    command = SideCommand(reaper, sys.argv[1:], os.environ)
except OSError as error:
    sys.exit(error.strerror)
until = time.monotonic() + 60
while (ended := command.poll()) is None and time.monotonic() < until:
    if "stop" in sys.argv:
        command.signal(15)
    time.sleep(0.01)
command.signal(9)
print(ended.status, ended.signal, command.poll() == ended)
"""


def ended(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ASIDE, *command], capture_output=True, text=True, timeout=100, check=False
    )
    return (done.stdout + done.stderr).strip()


@pytest.mark.parametrize(
    ("script", "told"), [("exit 0", "0 0 True"), ("exit 3", "3 0 True"), ("kill -9 $$", "0 9 True")]
)
def test_its_end_is_told_beside_the_ends_of_others(script: str, told: str) -> None:
    assert ended("/bin/sh", "-c", script) == told


def test_it_is_found_by_path_and_signalled_with_all_of_its_group() -> None:
    assert ended("sh", "-c", "sleep 1000 & wait", "stop") == "0 15 True"


def test_one_that_does_not_exist_is_refused_at_once() -> None:
    assert ended("no-such-program") == "No such file or directory"

"""Real processes: what was below the supervisor before the command, and what that starts."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil

from integration.daemons import wait_for
from supervisor.command.supervised import DAEMONISED, Start, ended, gone, kill, of


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

"""The whole supervisor in a process of its own, for its reaper and its signals are the process'."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fakes.pairs import name_of, save_pair
from holdfast.core.errors import Conflict, Exit
from holdfast.core.machine.flight_recorder import Record
from holdfast.spool import Spool
from holdfast.store.directory import DirectoryStore
from integration.daemons import wait_for

RUN = "00001-count"

# Supervises the command in its arguments; AHEAD is what stands before that, SETTINGS what is not as by default.
SUPERVISOR = """
import contextlib, os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from holdfast.store.directory import DirectoryStore
from holdfast.supervisor.command.reaper import Reaper
from holdfast.supervisor.report.journal import Journal
from holdfast.supervisor.loop import Supervisor
from holdfast.supervisor.notices.imds_watcher import Watcher
from holdfast.core.policy import LeaseTimes
from holdfast.supervisor.settings import RunSettings

Store = DirectoryStore
AHEAD
settings = RunSettings(name="count", work_dir=Path("work"), command=tuple(sys.argv[1:]), SETTINGS)
watcher = lambda report: [Watcher(None, report, lambda kind, text: None, drain_time=110.0)]
with contextlib.closing(Journal(sys.stderr)) as journal:
    supervisor = Supervisor(
        settings, Store(Path("store")), journal, watcher, os.environ, sys.stdout.buffer, Reaper()
    )
    code = supervisor.run()
sys.exit(code)
"""


@contextmanager
def supervised(folder: Path, *command: str, ahead: str = "", settings: str = "") -> Iterator[subprocess.Popen[str]]:
    script = SUPERVISOR.replace("AHEAD", ahead).replace("SETTINGS", settings)
    process = subprocess.Popen(
        [sys.executable, "-c", script, *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# --- exit codes ----------------------------------------------------------------------------------------------------

ALMOST_TOO_OLD = """
class Store(DirectoryStore):
    def get(self, key, *most):
        data, tag = super().get(key, *most)
        if not key.endswith("/run.json"):
            return data, tag
        born = datetime.now(UTC) - timedelta(hours=1) + timedelta(seconds=0.2)
        return b'{"created": "%s"}' % born.isoformat().encode(), tag
"""


def test_a_run_that_becomes_too_old_before_it_could_store_what_is_here_alone_ends_with_74(tmp_path: Path) -> None:
    """Another machine has the lease all the time."""
    save_pair(Spool(tmp_path / "work" / RUN), name_of(1))
    folder = tmp_path / "store" / RUN
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "lease.json").write_text('{"state": "held", "expiry": 3000}')
    with supervised(tmp_path, "true", ahead=ALMOST_TOO_OLD, settings="max_hours=1.0") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == Exit.UNSTORED, said
    assert "it is still in the work dir (exit 74)" in said


# --- signals -------------------------------------------------------------------------------------------------------

SAVES = """
trap 'echo asked; while [ ! -e gate ]; do sleep 0.05; done; echo saved; exit 3' TERM
echo ready; while :; do sleep 0.05; done
"""


def until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for said in process.stdout:
        if said.rstrip("\n") == line:
            return
    raise AssertionError(f"it ended without {line!r}")


def test_a_session_that_is_dropped_is_one_stop_though_shell_and_kernel_both_tell_of_it(tmp_path: Path) -> None:
    """The command may save in its time; a stop by another signal would be the second."""
    with supervised(tmp_path, "sh", "-c", SAVES) as process:
        until(process, "ready")
        process.send_signal(signal.SIGHUP)
        until(process, "asked")
        process.send_signal(signal.SIGHUP)
        (tmp_path / "gate").touch()
        said, _ = process.communicate(timeout=30)
    assert "saved" in said
    assert process.returncode == Exit.STOPPED, said


def test_a_signal_after_a_dropped_session_is_the_second(tmp_path: Path) -> None:
    with supervised(tmp_path, "sh", "-c", SAVES) as process:
        until(process, "ready")
        process.send_signal(signal.SIGHUP)
        until(process, "asked")
        wait_for(lambda: (process.send_signal(signal.SIGTERM), process.poll() is not None)[1], "its end")
        said, _ = process.communicate(timeout=30)
    assert "saved" not in said
    assert process.returncode == Exit.STOPPED, said


# --- the end of the command ----------------------------------------------------------------------------------------


def test_the_end_of_a_guardian_that_never_told_of_its_command_is_not_taken_for_an_orphans(tmp_path: Path) -> None:
    """Something of it keeps its end of the line open meanwhile, and the reaper is quicker than the supervisor."""
    guardian = tmp_path / "guardian"
    guardian.write_text("#!/bin/sh\nsleep 3 &\nexit 7\n")
    guardian.chmod(0o755)
    with supervised(tmp_path, "true", ahead=f"sys.executable = {str(guardian)!r}") as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == Exit.FAILED, said
    assert "the command failed before its first batch (exit 7) and is not started again (exit 70)" in said


# --- a command that cannot be started ------------------------------------------------------------------------------

# The machine has no process for the first of its starts.
NO_PROCESS_AT_FIRST = """
import errno
spawn, spawned = os.posix_spawn, []
def refuse_once(*arguments, **options):
    spawned.append(arguments)
    if len(spawned) == 1:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return spawn(*arguments, **options)
os.posix_spawn = refuse_once
"""


def test_a_machine_that_has_no_process_to_give_is_asked_again(tmp_path: Path) -> None:
    with supervised(tmp_path, "true", ahead=NO_PROCESS_AT_FIRST) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == Exit.COMPLETE, said
    assert "it cannot be started: Resource temporarily unavailable); starting it again" in said


def test_a_command_that_is_gone_by_the_time_it_is_started_is_a_wrong_setting(tmp_path: Path) -> None:
    """What an earlier start left here is stored, and the next one need not wait for the lease."""
    save_pair(Spool(tmp_path / "work" / RUN), name_of(1))
    with supervised(tmp_path, "./gone") as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == Exit.USAGE, said
    assert "error: the command does not start: ./gone: No such file or directory" in said
    assert "defect" not in said
    store = tmp_path / "store" / RUN
    assert (store / name_of(1).file("json")).exists()
    assert json.loads((store / "lease.json").read_text())["state"] == "released"


# --- the record of the last events ---------------------------------------------------------------------------------


def record_of(folder: Path) -> Record:
    path = folder / "work" / RUN / "last-events.json"
    assert path.stat().st_mode & 0o077 == 0
    return Record.from_plain(json.loads(path.read_text()))


def test_an_end_by_another_holder_is_recorded_and_can_be_stepped_again(tmp_path: Path) -> None:
    store, key, taken = DirectoryStore(tmp_path / "store"), f"{RUN}/lease.json", False
    with supervised(tmp_path, "sh", "-c", SAVES, settings="lease=LeaseTimes(0.05, 30, 900)") as process:
        until(process, "ready")
        while not taken:
            with suppress(Conflict):  # with a renewal
                store.replace(
                    key, b'{"state": "held", "holder": "another", "host": "two", "incarnation": 2}', store.get(key)[1]
                )
                taken = True
        said, _ = process.communicate(timeout=30)
    assert process.returncode == Exit.FENCED, said
    assert "the lease was taken over by two (incarnation 2)" in said
    record = record_of(tmp_path)
    assert (record.code, record.replay().exit_code) == (Exit.FENCED, Exit.FENCED)


def test_a_failure_is_recorded_and_can_be_stepped_again(tmp_path: Path) -> None:
    with supervised(tmp_path, "sh", "-c", "exit 3") as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == Exit.FAILED, said
    assert record_of(tmp_path).replay().exit_code is Exit.FAILED


def test_an_end_as_it_should_be_is_not_recorded(tmp_path: Path) -> None:
    with supervised(tmp_path, "true") as process:
        said, _ = process.communicate(timeout=30)
    assert process.returncode == Exit.COMPLETE, said
    assert not (tmp_path / "work" / RUN / "last-events.json").exists()

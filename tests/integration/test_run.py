"""``holdfast run`` as real processes: real signals, a real metadata service, real stores."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from fakes.finals import final_state
from holdfast.core.errors import Exit
from holdfast.drill.compare_runs import FitState, differences
from holdfast.drill.fake_imds import MetadataService
from holdfast.spool import TEMPORARY, Spool
from holdfast.store import Store, StoreSettings, open_store
from holdfast.store.catalog import list_pairs

from .conftest import answered_by, on_both
from .daemons import SCRIPTS, Daemon, Machines, machines, wait_for

RUN = "00001-count"
DOES_NOTHING = [sys.executable, "-c", "import holdfast\nwith holdfast.session(): pass"]  # as fit with no epoch left


def store_of(park: Machines) -> Store:
    return open_store(park.store, StoreSettings(endpoint_url=park.environment.get("HOLDFAST_ENDPOINT_URL")))


def keys(park: Machines) -> list[str]:
    return [entry.key.removeprefix(f"{RUN}/") for entry in store_of(park).list(f"{RUN}/")]


def last_of(daemon: Daemon) -> str:
    """The last of holdfast's own lines."""
    return [line for line in daemon.lines if line.startswith("holdfast: ")][-1]


def same_as_undisturbed(park: Machines) -> bool:
    """Does the run's final state equal that of a run which nothing disturbed?"""
    return not differences(final_state(store_of(park), RUN), undisturbed())


@functools.cache
def undisturbed() -> FitState:
    with tempfile.TemporaryDirectory() as folder, machines(f"{folder}/store", Path(folder), {}) as reference:
        assert reference.start("undisturbed").wait() == Exit.COMPLETE
        return final_state(store_of(reference), RUN)


def test_a_training_that_ends_is_complete_and_left_alone_until_it_is_extended(park: Machines) -> None:
    first = park.start("one")
    assert first.wait() == Exit.COMPLETE
    first.close()
    assert (
        last_of(first) == "holdfast: training is complete, and all checkpoints and artifacts are in the store (exit 0)"
    )
    assert {"complete.json", "run.json", "log-i1.txt", "events-i1.jsonl", "training_options.json"} <= set(keys(park))
    again = park.start("one")
    assert again.wait() == Exit.COMPLETE
    again.close()
    assert "from step" not in again.text
    assert f"run {RUN} is complete; nothing to do ('holdfast new count' begins another" in last_of(again)
    other = park.start("two", command=[sys.executable, "-c", "print('another')"])
    assert other.wait() == Exit.COMPLETE
    other.close()
    assert f"warning: run {RUN} is complete, so nothing is trained (the command is another: " in last_of(other)
    assert "); 'holdfast new count' begins another" in last_of(other)
    longer = park.start("two", "--extend", STEPS="90")
    assert longer.wait() == Exit.COMPLETE
    assert "from step 60" in longer.text


def test_a_finished_run_is_not_held_up_by_what_the_store_refuses_for_good(local_park: Machines) -> None:
    run = Path(local_park.store) / "00001-count"
    for refused in ("training_options.json", "log-i1.txt", "complete.json"):
        (run / refused / "in-its-place").mkdir(parents=True)
    daemon = local_park.start("one")
    assert daemon.wait() == Exit.UNSTORED, daemon.text
    for refused in ("training_options.json", "log-i1.txt"):
        assert daemon.text.count(f"00001-count/{refused} is not in the store") == 1
    assert "the run cannot be marked complete" in daemon.text
    (run / "complete.json" / "in-its-place").rmdir()
    (run / "complete.json").rmdir()
    assert local_park.start("one").wait() == Exit.COMPLETE


def test_a_command_that_stores_nothing_is_not_said_to_be_in_the_store(local_park: Machines) -> None:
    waits = [sys.executable, "-uc", "print('begun'); import time; time.sleep(60)"]
    stopped = local_park.start("one", command=waits)
    stopped.until("begun")
    assert stopped.terminate() == Exit.STOPPED
    assert last_of(stopped) == (
        "holdfast: stopped early; the command stored no checkpoint (does the script use holdfast.Resume?): "
        "the next start begins anew (exit 75)"
    )
    ended = local_park.start("one", command=["true"])
    assert ended.wait() == Exit.COMPLETE
    assert last_of(ended) == "holdfast: the command ended well; it stored no checkpoint (exit 0)"


def test_a_last_state_that_was_never_saved_is_not_said_to_be_in_the_work_dir(local_park: Machines) -> None:
    """The second signal kills the command while it saves."""
    deaf = [
        "import holdfast, time",
        "with holdfast.session() as run:",
        "    run.boundary(1)",
        "    print('begun', flush=True)",
        "    time.sleep(60)",
    ]
    daemon = local_park.start("one", command=[sys.executable, "-c", "\n".join(deaf)])
    local_park.until_step("one", 1, daemon)
    daemon.process.send_signal(signal.SIGINT)
    daemon.until("draining")
    daemon.signal_again_until(signal.SIGINT, "not waiting for the command")
    assert daemon.wait() == Exit.UNSTORED
    assert last_of(daemon) == "holdfast: stopped early, and nothing was saved: the next start begins anew (exit 74)"


@pytest.mark.parametrize(
    ("command", "code"), [("", Exit.COMPLETE), ("import sys; sys.exit('no such model')", Exit.FAILED)]
)
def test_a_complete_run_that_is_extended_by_nothing_stays_complete(
    local_park: Machines, command: str, code: Exit
) -> None:
    assert local_park.start("one").wait() == Exit.COMPLETE
    before = keys(local_park)
    script = [sys.executable, "-c", command] if command else DOES_NOTHING
    assert local_park.start("two", "--extend", "--max-restarts", "0", command=script).wait() == code
    assert {"complete.json", *before} <= set(keys(local_park))
    again = local_park.start("one")
    assert again.wait() == Exit.COMPLETE
    assert "nothing to do" in again.text


@on_both("park")
def test_sigterm_stores_the_last_batch_and_another_machine_goes_on_from_it(park: Machines) -> None:
    first = park.start("one", HOLD_AT="33")
    park.until_step("one", 33, first)
    assert first.terminate() == Exit.STOPPED
    first.close()
    assert last_of(first).endswith("the state is in the store; run again to go on (exit 75)")
    shutil.rmtree(park.work_dir("one"))
    second = park.start("two")
    assert second.wait() == Exit.COMPLETE
    assert "from step 33" in second.text
    assert same_as_undisturbed(park)


def test_a_spot_notice_drains_and_while_it_stands_nothing_is_started(park: Machines, metadata: MetadataService) -> None:
    environment = answered_by(metadata)
    first = park.start("one", HOLD_AT="25", **environment)
    park.until_step("one", 25, first)
    metadata.interrupt()
    assert first.wait() == Exit.STOPPED
    lease = store_of(park).get(f"{RUN}/lease.json")
    second = park.start("one", **environment)
    second.until("nothing is started while the notice stands")
    assert store_of(park).get(f"{RUN}/lease.json") == lease
    metadata.clear()
    assert second.wait() == Exit.COMPLETE
    assert "from step 25" in second.text
    assert same_as_undisturbed(park)


def test_a_waiting_run_is_ended_by_sigterm(local_park: Machines, metadata: MetadataService) -> None:
    metadata.interrupt()
    daemon = local_park.start("one", **answered_by(metadata))
    daemon.until("nothing is started")
    assert daemon.terminate() == Exit.STOPPED
    assert not Path(local_park.store).exists()


def test_a_rebalance_recommendation_saves_at_once_and_training_goes_on(
    local_park: Machines, metadata: MetadataService
) -> None:
    daemon = local_park.start("one", HOLD_AT="33", EVERY="1000", **answered_by(metadata))
    local_park.until_step("one", 33, daemon)
    metadata.recommend_rebalance()
    daemon.until("stored epoch 1, step 33 (rebalance")
    assert daemon.process.poll() is None or daemon.wait() == Exit.COMPLETE


def test_scheduled_maintenance_drains_the_drain_time_before_it_begins(
    local_park: Machines, metadata: MetadataService
) -> None:
    metadata.schedule_maintenance(seconds=3600)
    daemon = local_park.start("one", "--drain-time", "20", HOLD_AT="33", **answered_by(metadata))
    local_park.until_step("one", 33, daemon)
    daemon.until("draining 20 s before")
    metadata.schedule_maintenance(seconds=19)
    assert daemon.wait() == Exit.STOPPED


def test_the_child_dies_with_a_supervisor_that_is_killed(local_park: Machines) -> None:
    first = local_park.start("one", HOLD_AT="33")
    local_park.until_step("one", 33, first)
    child = first.child()
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child's end")
    second = local_park.start("one", "--lease-expiry", "600")
    assert second.wait() == Exit.COMPLETE, "the same work dir proves that the holder is dead"
    assert same_as_undisturbed(local_park)


@on_both("park")
def test_after_the_whole_tree_is_killed_another_machine_waits_for_the_lease_to_expire(park: Machines) -> None:
    first = park.start("one", HOLD_AT="33", PACE="0.01", EVERY="15")
    park.until_step("one", 33, first)
    first.until("stored epoch 1, step 30")
    child = first.child()
    os.kill(first.pid, signal.SIGKILL)
    with contextlib.suppress(psutil.NoSuchProcess):  # it dies with the supervisor, often before this
        child.kill()
    first.wait()
    second = park.start("two")
    second.until("waiting for the lease")
    second.until("when that one has been silent for 1 s, or at once when it is released (at most --lease-wait 900 s)")
    assert second.wait() == Exit.COMPLETE
    assert "from step 30" in second.text, "at most one interval is lost"
    assert same_as_undisturbed(park)


def test_a_replacement_waits_for_the_drain_and_continues_from_its_checkpoint(park: Machines) -> None:
    first = park.start("one", HOLD_AT="33", EVERY="1000")
    park.until_step("one", 33, first)
    second = park.start("two")
    second.until("waiting for the lease")
    assert first.terminate() == Exit.STOPPED
    assert second.wait() == Exit.COMPLETE
    assert "from step 33" in second.text


def test_who_waits_too_long_for_the_lease_exits_69(local_park: Machines) -> None:
    first = local_park.start("one", HOLD_AT="33")
    local_park.until_step("one", 33, first)
    second = local_park.start("two", "--lease-wait", "0.5")
    assert second.wait() == Exit.FENCED
    assert "--lease-wait" in second.text
    assert first.terminate() == Exit.STOPPED


def test_a_holder_whose_lease_was_taken_stops_its_child_and_stores_nothing_more(local_park: Machines) -> None:
    first = local_park.start("one", HOLD_AT="33", EVERY="1000")
    local_park.until_step("one", 33, first)
    before = [key for key in keys(local_park) if key.startswith("model")]
    store_of(local_park).put(
        f"{RUN}/lease.json", _written(local_park.folder / "lease", b'{"holder": "x", "host": "h"}')
    )
    assert first.wait() == Exit.FENCED
    assert "taken over by h" in first.text
    assert [key for key in keys(local_park) if key.startswith("model")] == before


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_crash_after_progress_is_retried_from_the_newest_pair(local_park: Machines, tmp_path: Path) -> None:
    """And what each start had half written is gone."""
    crashed = str(tmp_path / "crashed")
    half_written = f'touch "$HOLDFAST_RUN_DIR/{TEMPORARY}$(printf %012x $$)-model-1.h5"'
    command = ["sh", "-c", f'{half_written}; "$@"; exit $?', "sh", sys.executable, str(SCRIPTS / "count.py")]
    daemon = local_park.start("one", command=command, CRASH_AT="27", CRASHED=crashed)
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert "the command failed (exit 3); starting it again" in daemon.text
    assert len(list(local_park.work_dir("one").glob(f"*/{TEMPORARY}*-model-*"))) == 0
    assert same_as_undisturbed(local_park)


FAILS = [sys.executable, "-c", "import sys; print('before'); sys.exit('no such data')"]


def test_a_crash_before_the_first_batch_is_not_retried_and_its_last_lines_are_told_once(local_park: Machines) -> None:
    daemon = local_park.start("one", command=FAILS)
    assert daemon.wait() == Exit.FAILED
    assert daemon.text.count("no such data") == 1, "the command has just printed it there"
    (exited,) = [event for event in local_park.events("one") if event["event"] == "exited"]
    assert exited["last_lines"] == ["before", "no such data"]
    assert local_park.kinds("one").count("started") == 1
    assert "complete.json" not in keys(local_park)


def test_where_the_output_of_the_command_goes_nowhere_its_last_lines_are_shown(local_park: Machines) -> None:
    words = ["run", "--store", local_park.store, "--run", "count", "--work-dir", str(local_park.work_dir("one"))]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "holdfast", *words, "--", *FAILS],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == Exit.FAILED
    assert "holdfast: the command's last lines:\n  before\n  no such data\n" in done.stderr


def test_a_command_that_knows_nothing_of_holdfast_gets_sigterm(local_park: Machines) -> None:
    script = "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    daemon = local_park.start("one", command=["/bin/sh", "-c", script])
    daemon.until("ready")
    assert daemon.terminate() == Exit.STOPPED, "a 0 after the stop is not completion"
    assert "asked" in daemon.text


def test_both_streams_reach_console_and_log_in_order_and_at_once(local_park: Machines) -> None:
    lines = "for i in range(200): print('out', i); print('err', i, file=sys.stderr)"
    daemon = local_park.start("one", command=[sys.executable, "-c", f"import sys\n{lines}"])
    assert daemon.wait() == Exit.COMPLETE
    expected = [f"{stream} {i}" for i in range(200) for stream in ("out", "err")]
    assert [line for line in daemon.lines if line.startswith(("out", "err"))] == expected
    assert (local_park.work_dir("one") / RUN / "log.txt").read_text().splitlines() == expected


def test_what_the_drain_could_not_store_is_kept_here_and_stored_by_the_next_start(local_park: Machines) -> None:
    first = local_park.start("one", "--drain-time", "2", HOLD_AT="33", EVERY="1000")
    local_park.until_step("one", 33, first)
    store = Path(local_park.store)
    away = store.rename(store.with_name("away"))
    store.write_text("not a directory")
    assert first.terminate() == Exit.UNSTORED
    store.unlink()
    away.rename(store)
    second = local_park.start("one", HOLD_AT="40", EVERY="1000")
    second.until("from step 33")
    second.until("stored epoch 1, step 33 (left over")
    assert second.terminate() == Exit.STOPPED


def test_a_training_whose_last_state_could_not_be_written_is_not_complete(local_park: Machines) -> None:
    """It says so by exit 74, and the next start goes on from what is stored."""
    work_dir = local_park.work_dir("one")
    lines = [
        "import contextlib, holdfast, shutil",
        "with holdfast.session(every=1) as run:",
        "    run.boundary(1)",
        "    run.commit({'w': [1.0]})",
        "    while run.busy: pass",
        "    for _ in range(100):",  # the supervisor may be writing there
        "        with contextlib.suppress(OSError):",
        "            shutil.rmtree(run.run_dir)",
        "            break",
        "    run.boundary(2)",
        "    run.commit({'w': [2.0]})",
    ]
    code = "\n".join(lines)
    daemon = local_park.start("one", command=[sys.executable, "-c", code])
    assert daemon.wait() == Exit.UNSTORED, daemon.text
    assert "could not be written" in daemon.text
    assert "complete.json" not in keys(local_park)
    assert not list(work_dir.glob("*/model-*"))


def test_a_loop_that_does_not_commit_its_last_batches_is_not_complete(local_park: Machines) -> None:
    lines = [
        "import holdfast",
        "with holdfast.session(every=4) as run:",
        "    for step in range(run.step, 10):",
        "        if run.boundary(step + 1): run.commit({'w': [step]})",
    ]
    daemon = local_park.start("one", command=[sys.executable, "-c", "\n".join(lines)])
    assert daemon.wait() == Exit.UNSTORED, daemon.text
    assert "no commit holds the last 2 batches: call run.commit after the last batch too" in daemon.text
    assert "could not be written" not in daemon.text, "nobody tried"
    assert sum(key.endswith(".json") and key.startswith("model") for key in keys(local_park)) == 2


def test_a_second_session_in_one_command_ends_the_run_with_what_the_first_one_stored(local_park: Machines) -> None:
    lines = [
        "import holdfast",
        "for fold in range(2):",
        "    with holdfast.session() as run:",
        "        run.boundary(1)",
        "        run.commit({'w': [fold]})",
    ]
    daemon = local_park.start("one", command=[sys.executable, "-c", "\n".join(lines)])
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "this process already has a training" in daemon.text
    assert local_park.kinds("one").count("started") == 1
    assert sum(key.endswith(".json") and key.startswith("model") for key in keys(local_park)) == 1
    assert "complete.json" not in keys(local_park)


def test_a_command_that_stores_no_checkpoint_is_told_so(local_park: Machines) -> None:
    daemon = local_park.start("one", command=[sys.executable, "-c", "print('hi')"])
    assert daemon.wait() == Exit.COMPLETE
    assert "stored no checkpoint: does the script use holdfast.Resume?" in daemon.text


def test_a_second_training_process_of_the_same_command_goes_on_from_the_first(
    local_park: Machines, tmp_path: Path
) -> None:
    script = f"{sys.executable} {SCRIPTS}/count.py || {sys.executable} {SCRIPTS}/count.py"
    crash = {"CRASH_AT": "27", "CRASHED": str(tmp_path / "crashed"), "PACE": "0.03"}
    daemon = local_park.start("one", command=["/bin/sh", "-c", script], **crash)
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    assert "from step 20" in daemon.text
    assert same_as_undisturbed(local_park)


def test_a_second_script_that_fails_behind_a_pipe_before_it_connects_leaves_the_run_incomplete(
    local_park: Machines,
) -> None:
    script = f"{sys.executable} {SCRIPTS}/count.py && {sys.executable} -c 'import no_such_module' | cat"
    daemon = local_park.start("one", command=["/bin/sh", "-c", script])
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "exit 0 after ModuleNotFoundError: No module named 'no_such_module'" in daemon.text


def test_crashes_at_the_same_batch_again_and_again_come_to_an_end(local_park: Machines, tmp_path: Path) -> None:
    crashed = f"os.environ['CRASHED'] = '{tmp_path}/crashed-' + str(os.getpid())"
    code = f"import os, runpy; {crashed}; runpy.run_path('{SCRIPTS}/count.py')"
    command = [sys.executable, "-c", code]
    daemon = local_park.start("one", "--max-restarts", "2", command=command, CRASH_AT="27", PACE="0.005")
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert last_of(daemon) == (
        "holdfast: the command failed again after 2 restarts without progress (exit 3); "
        "its newest checkpoint is in the store (exit 70)"
    )
    assert local_park.kinds("one").count("started") == 3, "one that made progress, and two that made none"


def test_an_exception_that_comes_again_at_the_same_place_is_given_up_after_the_second(local_park: Machines) -> None:
    code = f"import runpy\nrunpy.run_path('{SCRIPTS}/count.py')\nopen('not/there')"
    daemon = local_park.start("one", command=[sys.executable, "-c", code])
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "failed twice in the same way without progress: FileNotFoundError" in last_of(daemon)
    assert "its newest checkpoint is in the store" in last_of(daemon)
    assert local_park.kinds("one").count("started") == 2


def test_a_child_that_is_killed_in_the_drain_has_not_stored_its_state(local_park: Machines) -> None:
    lines = [
        "import holdfast, signal, time",
        "run = holdfast.session()",
        "run.__enter__()",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "run.boundary(1)",
        "print('ready', flush=True)",
        "time.sleep(60)",
    ]
    code = "\n".join(lines)
    daemon = local_park.start("one", "--drain-time", "11", command=[sys.executable, "-c", code])
    local_park.until_step("one", 1, daemon)
    daemon.until("ready")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.until("draining")
    daemon.signal_again_until(signal.SIGTERM, "not waiting for the command")
    assert daemon.wait() == Exit.UNSTORED, daemon.text


def test_a_full_work_dir_does_not_hang_the_start(local_park: Machines) -> None:
    (local_park.work_dir("one") / RUN / "training_options.json").mkdir(parents=True)
    assert local_park.start("one").wait() == Exit.COMPLETE


def test_a_console_that_nobody_reads_does_not_hold_up_the_end(local_park: Machines) -> None:
    words = ["run", "--store", local_park.store, "--run", "count", "--work-dir", str(local_park.work_dir("one"))]
    chatter = ["/bin/sh", "-c", "trap '' TERM; while :; do echo chatter chatter chatter; done"]
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", *words, "--", *chatter], stdout=write, stderr=write, stdin=subprocess.DEVNULL
    )
    try:
        log = local_park.work_dir("one") / RUN / "log.txt"
        wait_for(lambda: log.exists() and log.stat().st_size > 60_000, "a full pipe")
        process.terminate()
        process.terminate()
        wait_for(lambda: (process.terminate(), process.poll() is not None)[1], "its end")
        assert process.returncode in (Exit.STOPPED, Exit.UNSTORED)
    finally:
        process.kill()
        process.wait()
        os.close(read)
        os.close(write)


def test_ignored_signals_of_the_parent_do_not_hide_the_childs_end(local_park: Machines) -> None:
    words = ["run", "--store", local_park.store, "--run", "count", "--work-dir", str(local_park.work_dir("one"))]
    code = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-m", "holdfast", *words, "--", sys.executable, str(SCRIPTS / "count.py")]
    ended = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, timeout=60, check=False)
    assert ended.returncode == Exit.COMPLETE, ended.stderr


def test_a_store_that_was_unmounted_is_away_and_not_made_anew(local_park: Machines) -> None:
    daemon = local_park.start("one", "--drain-time", "2", HOLD_AT="33", EVERY="1000")
    local_park.until_step("one", 33, daemon)
    store = Path(local_park.store)
    store.rename(store.with_name("elsewhere"))
    store.mkdir()  # as a mount point shows when nothing is mounted
    assert daemon.terminate() == Exit.UNSTORED
    assert list(store.iterdir()) == []


def test_a_copy_of_a_work_dir_is_not_the_holder_of_its_lease(local_park: Machines) -> None:
    first = local_park.start("one", HOLD_AT="33")
    local_park.until_step("one", 33, first)
    shutil.copytree(local_park.work_dir("one"), local_park.work_dir("copy"), ignore=shutil.ignore_patterns(".tmp-*"))
    second = local_park.start("copy", "--lease-wait", "0.5")
    assert second.wait() == Exit.FENCED
    assert first.terminate() == Exit.STOPPED


def test_a_work_dir_is_not_taken_for_that_of_another_stores_run(park: Machines, tmp_path: Path) -> None:
    """Both stores number their runs alike. The second run trains, in a work dir of its own, and the first goes on."""
    assert park.start("one").wait() == Exit.COMPLETE
    second = Machines(str(tmp_path / "second-store"), park.folder, {})
    before = {path.name: path.read_bytes() for path in (park.work_dir("one") / RUN).glob("*.*")}
    refused = second.start("one")
    assert refused.wait() == Exit.USAGE, refused.text
    (line,) = (line for line in refused.lines if "--work-dir" in line)
    assert f"is of {RUN} in {store_of(park).uri}, and not of the one in {store_of(second).uri}" in line
    assert not Path(second.store).exists()
    assert {path.name: path.read_bytes() for path in (park.work_dir("one") / RUN).glob("*.*")} == before
    shutil.rmtree(second.folder / "one")
    assert second.start("one").wait() == Exit.COMPLETE
    assert has_the_newest(second, "one")
    second.close()


@pytest.mark.parametrize("unmounted", [False, True])
def test_a_store_that_lost_the_run_is_not_given_a_new_one_over_its_work_dir(
    local_park: Machines, unmounted: bool
) -> None:
    assert local_park.start("one").wait() == Exit.COMPLETE
    store = Path(local_park.store)
    store.rename(store.with_name("elsewhere"))
    again = local_park.start("one")
    assert again.wait() == Exit.USAGE, again.text
    assert f"of an earlier {RUN}" in again.text
    assert "which is there no more" in again.text
    assert not store.exists()
    if unmounted:
        store.with_name("elsewhere").rename(store)
    else:
        local_park.work_dir("one").rename(local_park.work_dir("away"))
    assert local_park.start("one").wait() == Exit.COMPLETE
    assert has_the_newest(local_park, "one")


@pytest.mark.parametrize("marked", [True, False])
def test_what_a_script_or_an_early_version_left_here_comes_into_the_store(local_park: Machines, marked: bool) -> None:
    """Of the early version's marks nobody knows which store they are about."""
    assert local_park.start("one").wait() == Exit.COMPLETE
    shutil.rmtree(local_park.store)
    folder = local_park.work_dir("one") / RUN
    (folder / "store.json").unlink(missing_ok=True)
    for mark in () if marked else folder.glob("*.stored"):
        mark.unlink()
    again = local_park.start("one", command=DOES_NOTHING)
    assert again.wait() == Exit.COMPLETE, again.text
    assert "of an earlier run here, which the store lacks" in again.text
    assert has_the_newest(local_park, "one")


def test_a_run_whose_newest_checkpoint_was_taken_from_the_store_is_not_complete_without_it(
    local_park: Machines,
) -> None:
    assert local_park.start("one").wait() == Exit.COMPLETE
    for file in Path(local_park.store, RUN).glob("model-*"):
        file.unlink()
    assert local_park.start("one", "--extend", command=DOES_NOTHING).wait() == Exit.COMPLETE
    assert has_the_newest(local_park, "one")


def has_the_newest(park: Machines, machine: str) -> bool:
    """Has the store the newest pair of the machine's folder?"""
    return Spool(park.work_dir(machine) / RUN).pairs()[0] == list_pairs(store_of(park), RUN)[0]


def test_a_second_sigterm_does_not_wait_for_the_child(local_park: Machines) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    daemon = local_park.start("one", command=["/bin/sh", "-c", script])
    daemon.until("ready")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.until("draining")
    daemon.signal_again_until(signal.SIGTERM, "not waiting for the command")
    assert daemon.wait() == Exit.STOPPED
    assert "not waiting for the command" in daemon.text


def test_a_stop_that_arrives_twice_at_once_is_one(local_park: Machines) -> None:
    """A launcher forwards to holdfast what the process group of both got."""
    daemon = local_park.start("one", HOLD_AT="33", EVERY="1000")
    local_park.until_step("one", 33, daemon)
    for _ in range(3):
        daemon.process.send_signal(signal.SIGTERM)
    assert daemon.wait() == Exit.STOPPED, daemon.text
    assert has_the_newest(local_park, "one")


def test_the_child_has_a_session_of_its_own_and_leaves_nobody_behind(local_park: Machines) -> None:
    script = "sleep 1000 & setsid sleep 1000 & echo ready; wait"
    daemon = local_park.start("one", command=["/bin/sh", "-c", script])
    daemon.until("ready")
    tree = psutil.Process(daemon.pid).children(recursive=True)
    assert os.getsid(daemon.child().pid) == daemon.child().pid != os.getsid(daemon.pid)
    assert daemon.terminate() == Exit.STOPPED
    gone, alive = psutil.wait_procs(tree, timeout=10)
    assert not alive
    assert len(gone) >= 3


def test_the_scripts_environment_is_left_as_it_is(local_park: Machines) -> None:
    code = "import json, os; print('ENV', json.dumps(dict(os.environ)))"
    daemon = local_park.start("one", command=[sys.executable, "-c", code], MINE="1", PYTHONUNBUFFERED="")
    assert daemon.wait() == Exit.COMPLETE
    import json

    seen = json.loads(next(line for line in daemon.lines if line.startswith("ENV")).removeprefix("ENV "))
    added = {key for key in seen if key not in os.environ and key not in local_park.environment}
    assert added - {"LC_CTYPE", "MINE", "AWS_EC2_METADATA_DISABLED", "PYTHONUNBUFFERED"} == {
        "HOLDFAST_SOCKET",
        "HOLDFAST_RUN_DIR",
        "HOLDFAST_ONLY_WARN",  # these two bring the hook that says what is not saved
        "PYTHONPATH",
    }
    assert seen["PYTHONUNBUFFERED"] == ""

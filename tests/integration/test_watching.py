"""``holdfast run`` as it is watched: metrics, status, webhook and JSON lines of a real process."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fakes.http import Answer, AnsweringServer, unused_endpoint
from holdfast.core.errors import Exit
from holdfast.drill.fake_imds import MetadataService

from .conftest import answered_by
from .daemons import PATIENCE, Machines, wait_for


def port() -> str:
    return unused_endpoint().rpartition(":")[2]


def scrape(port: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = [sample for family in families for sample in family.samples]
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


def status(park: Machines, machine: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "holdfast", "status", "--work-dir", str(park.work_dir(machine)), *arguments]
    found = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert found.stderr == ""
    return found.stdout


def status_of(park: Machines, machine: str) -> dict[str, Any]:
    """Empty while there is none."""
    found = json.loads(status(park, machine, "--json"))
    return dict(found[0]) if found else {}


def test_metrics_tell_how_a_training_stands(local_park: Machines, metadata: MetadataService) -> None:
    at = port()
    daemon = local_park.start("one", "--metrics-port", at, HOLD_AT="33", **answered_by(metadata))
    local_park.until_step("one", 33, daemon)
    wait_for(lambda: scrape(at).get("holdfast_last_stored_step") == 30, "the stored pair", alive=daemon.process)
    found = scrape(at)
    assert (found["holdfast_phase running"], found["holdfast_step"], found["holdfast_useful_batches_ratio"]) == (
        1,
        33,
        1,
    )
    assert found["holdfast_save_seconds_count"] == found["holdfast_checkpoints_saved_total"]
    assert 0 < found["holdfast_save_seconds_sum"] < PATIENCE
    assert found["holdfast_stored_bytes_total"] > 0
    assert found["holdfast_lease_incarnation"] == 1
    metadata.recommend_rebalance()
    wait_for(lambda: scrape(at).get("holdfast_notices_total rebalance") == 1, "the notice", alive=daemon.process)
    with urllib.request.urlopen(f"http://127.0.0.1:{at}/healthz", timeout=10) as answer:
        assert json.loads(answer.read()) == {"healthy": True, "run": "00001-count", "phase": "running"}


def test_a_repeated_batch_is_not_useful_and_a_crash_is_a_restart(local_park: Machines, tmp_path: Path) -> None:
    at = port()
    crashed = {"CRASH_AT": "18", "CRASHED": str(tmp_path / "crashed"), "EVERY": "10"}
    daemon = local_park.start("one", "--metrics-port", at, HOLD_AT="33", **crashed)
    local_park.until_step("one", 33, daemon)
    wait_for(lambda: scrape(at)["holdfast_restarts_total"] == 1, "the restart", alive=daemon.process)
    found = scrape(at)
    executed = found["holdfast_batches_executed_total"]
    assert executed in (33 + 8, 33 + 18), "from the pair at step 10, if it was written in time"
    assert found["holdfast_useful_batches_ratio"] == pytest.approx(33 / executed)


def test_without_a_port_nothing_listens_and_a_taken_one_is_refused(local_park: Machines) -> None:
    with AnsweringServer(lambda request: Answer()) as taken:
        daemon = local_park.start("one", "--metrics-port", taken.endpoint.rpartition(":")[2])
        assert daemon.wait() == Exit.USAGE
    assert "--metrics-port" in daemon.text
    assert "cannot be listened on: Address already in use" in daemon.text
    assert not Path(local_park.store).exists()


def test_status_follows_a_daemon_from_its_start_to_its_end(local_park: Machines) -> None:
    daemon = local_park.start("one", HOLD_AT="33")
    local_park.until_step("one", 33, daemon)
    wait_for(lambda: "stored: step 30" in status(local_park, "one"), "the stored pair", alive=daemon.process)
    wait_for(lambda: status_of(local_park, "one").get("owed") == 0, "the mark of the stored pair", alive=daemon.process)
    found = status_of(local_park, "one")
    assert (found["state"], found["alive"], found["daemon_pid"]) == ("running", True, daemon.pid)
    assert (found["step"], found["epoch"], found["useful_batches"], found["restarts"]) == (33, 1, 1.0, 0)
    assert found["child_pid"] == daemon.child().pid
    assert f"state: running, process {daemon.pid}" in status(local_park, "one")
    assert daemon.terminate() == Exit.STOPPED
    ended = status_of(local_park, "one")
    assert (ended["state"], ended["alive"], ended["exit_code"]) == ("ended (exit 75)", False, 75)
    assert ended["stored"]["step"] == 33


def test_status_tells_a_killed_daemon_from_a_living_one(local_park: Machines) -> None:
    daemon = local_park.start("one", HOLD_AT="33")
    local_park.until_step("one", 33, daemon)
    wait_for(lambda: status_of(local_park, "one").get("phase") == "running", "the phase", alive=daemon.process)
    os.kill(daemon.pid, signal.SIGKILL)
    daemon.wait()
    found = status_of(local_park, "one")
    assert (found["state"], found["alive"], found["step"]) == ("dead", False, 33)


def test_status_shows_the_notice_and_the_time_that_is_left(local_park: Machines, metadata: MetadataService) -> None:
    script = ["sh", "-c", "trap '' TERM; echo stubborn; while :; do sleep 0.1; done"]
    daemon = local_park.start("one", command=script, **answered_by(metadata))
    daemon.until("stubborn")
    metadata.interrupt()
    wait_for(lambda: bool(status_of(local_park, "one").get("stopping")), "the stop", alive=daemon.process)
    found = status_of(local_park, "one")
    assert found["phase"] == "draining"
    assert found["notice"].startswith("spot notice (terminate")
    assert 0 < found["seconds_left"] <= 120
    text = status(local_park, "one")
    assert re.search(r"stopping: spot notice .* s are left", text)


def test_status_without_runs_says_where_it_looked(local_park: Machines) -> None:
    assert status(local_park, "none", "--json") == "[]\n"
    assert status(local_park, "none").startswith("no daemon has worked under ")


def test_status_of_a_run_that_is_not_there_names_it_and_what_is_there(local_park: Machines) -> None:
    assert local_park.start("one").wait() == Exit.COMPLETE
    for option in ("--once", "--json"):
        words = ["status", "--work-dir", str(local_park.work_dir("one")), "--run", "nosuch", option]
        done = subprocess.run([sys.executable, "-m", "holdfast", *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (Exit.USAGE, "")
        assert "--run nosuch: no daemon has worked on it under" in done.stderr
        assert "it has 00001-count" in done.stderr


def test_status_is_live_on_a_terminal(local_park: Machines) -> None:
    assert local_park.start("one").wait() == Exit.COMPLETE
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "holdfast", "status", "--work-dir", str(local_park.work_dir("one"))]
    process = subprocess.Popen(command, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm"})
    os.close(follower)
    shown = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(leader, 4096):
                shown.extend(chunk)
        except OSError:
            pass  # the terminal is gone

    reader = threading.Thread(target=read)
    reader.start()
    wait_for(lambda: shown.count(b"ended (exit 0)") >= 2, "two pictures", alive=None)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    reader.join(PATIENCE)
    os.close(leader)


def test_status_is_live_elsewhere_where_that_is_asked_for(local_park: Machines) -> None:
    """As in a terminal that a tool reads by a pipe."""
    words = [sys.executable, "-m", "holdfast", "status", "--work-dir", str(local_park.work_dir("one")), "--watch"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        shown = b""
        while shown.count(b"no daemon has worked under") < 2:
            shown += os.read(process.stdout.fileno(), 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    done = subprocess.run([*words, "--once"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    assert "--watch shows it again and again" in done.stderr


def test_a_webhook_hears_of_the_interruption_and_of_the_completion(local_park: Machines) -> None:
    got: list[dict[str, Any]] = []

    def answer(request: Any) -> Answer:
        got.append(json.loads(request.body))
        return Answer(204)

    with AnsweringServer(answer) as server:
        hook = ("--notify-url", f"{server.endpoint}/s3cret")
        daemon = local_park.start("one", *hook, HOLD_AT="33")
        local_park.until_step("one", 33, daemon)
        assert daemon.terminate() == Exit.STOPPED
        assert local_park.start("one", *hook).wait() == Exit.COMPLETE
        assert local_park.start("one", *hook).wait() == Exit.COMPLETE  # there was nothing to do
    assert [(message["event"], message["run"]) for message in got] == [
        ("interruption", "00001-count"),
        ("completion", "00001-count"),
    ]
    assert got[1]["stored_step"] == 60


def test_a_webhook_that_is_away_neither_stops_the_training_nor_tells_its_secret(local_park: Machines) -> None:
    daemon = local_park.start("one", "--notify-url", f"{unused_endpoint()}/s3cret")
    assert daemon.wait() == Exit.COMPLETE
    folder = local_park.work_dir("one") / "00001-count"
    assert "s3cret" not in daemon.text
    assert not [path for path in folder.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_the_daemons_own_lines_are_json_where_that_is_asked_for(local_park: Machines) -> None:
    daemon = local_park.start("one", "--log-format", "json")
    assert daemon.wait() == Exit.COMPLETE
    own = [json.loads(line) for line in daemon.lines if line.startswith("{")]
    assert {"fresh", "stored"} <= {line["event"] for line in own}
    assert {line["level"] for line in own} == {"info", "debug"}, "the way of the training is for who asks for it"
    others = [line for line in daemon.lines if line and not line.startswith("{")]
    assert [line.split()[0] for line in others] == ["from", "done"], "the script's lines stay as they are"


def test_a_status_file_that_cannot_be_written_stops_nothing(local_park: Machines) -> None:
    in_its_place = local_park.work_dir("one") / "00001-count" / "status.json" / "x"
    in_its_place.parent.mkdir(parents=True)
    in_its_place.touch()
    assert local_park.start("one").wait() == Exit.COMPLETE
    shutil.rmtree(in_its_place.parent)


def test_orphans_are_counted_for_each_end_of_the_command_and_shown(local_park: Machines, scratch: Path) -> None:
    """The first start leaves two behind, and the second, which ends well, one."""
    leave = "(setsid sleep 1000 &)"
    script = f"if [ -e {scratch}/again ]; then {leave}; else touch {scratch}/again; {leave}; {leave}; exit 3; fi"
    lines = [
        "import holdfast, subprocess, sys",
        "with holdfast.session(every=1) as run:",
        "    run.boundary(1)",
        "    run.commit({'w': [1.0]})",
        f"sys.exit(subprocess.call(['/bin/sh', '-c', {script!r}]))",
    ]
    daemon = local_park.start("one", command=[sys.executable, "-c", "\n".join(lines)])
    assert daemon.wait() == Exit.COMPLETE, daemon.text
    ends = [event["orphans"] for event in local_park.events("one") if event["event"] == "exited"]
    assert ends == [2, 1]
    assert status_of(local_park, "one")["orphans"] == 3
    assert "orphans: 3 processes were left behind and reaped" in status(local_park, "one")


def test_a_notice_runs_a_command_and_the_end_is_written_where_it_is_asked_for(
    local_park: Machines, metadata: MetadataService, tmp_path: Path
) -> None:
    kind, message = tmp_path / "kind", tmp_path / "message"
    hooks = (
        *("--on-notice", f"sh -c 'echo $HOLDFAST_RUN $HOLDFAST_NOTICE_KIND > {kind}'"),
        *("--termination-message", str(message)),
    )
    daemon = local_park.start("one", *hooks, HOLD_AT="33", **answered_by(metadata))
    local_park.until_step("one", 33, daemon)
    metadata.interrupt()
    assert daemon.wait() == Exit.STOPPED
    assert kind.read_text() == "count spot terminate\n"
    assert "holdfast: ran sh (--on-notice)" in daemon.lines
    assert message.read_text().startswith("exit 75: ")
    assert "orphans" not in [key for event in local_park.events("one") if event.get("orphans") for key in event]


def test_a_line_of_ours_does_not_begin_in_a_progress_bar(local_park: Machines) -> None:
    """The bar is a line without an end."""
    bar = ["sh", "-c", "printf '37/90 [===>  ]'; trap 'exit 75' TERM; while :; do sleep 0.05; done"]
    daemon = local_park.start("one", command=bar)
    wait_for(lambda: "started" in local_park.kinds("one"), "the start", alive=daemon.process)
    log = local_park.work_dir("one") / "00001-count" / "log.txt"
    wait_for(lambda: log.exists() and b"37/90" in log.read_bytes(), "the bar", alive=daemon.process)
    assert daemon.terminate() == Exit.STOPPED
    assert "37/90 [===>  ]" in daemon.lines
    assert b"holdfast" not in log.read_bytes(), "the log is the command's alone"


@pytest.mark.whole
def test_keras_bar_is_whole_again_below_a_line_of_ours(tmp_path: Path) -> None:
    """On a terminal, where both are shown in one place."""
    (tmp_path / "train.py").write_text(
        "import time, keras, numpy as np, holdfast\n"
        "model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])\n"
        "model.compile('sgd', 'mse')\n"
        "slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.02))\n"
        "model.fit(np.zeros((60, 1)), np.zeros(60), batch_size=1, callbacks=[slow, holdfast.Resume(every=20)])\n"
    )
    ours, theirs = pty.openpty()
    words = ["run", "--store", str(tmp_path / "store"), "--run", "bar", "--work-dir", str(tmp_path / "runs")]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "holdfast", *words, "--", sys.executable, "train.py"],
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, cwd=tmp_path,
        env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"},
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is gone with its last process
            while data := os.read(ours, 4096):
                shown += data
    os.close(ours)
    assert process.returncode == Exit.COMPLETE, shown
    lines = re.sub(r"\x1b\[[0-9;]*m|[\b]", "", shown.decode()).split("\n")
    told = [number for number, line in enumerate(lines) if "holdfast: stored" in line]
    bars = [number for number, line in enumerate(lines) if re.search(r"\d+/60", line)]
    assert all(lines[number].startswith("holdfast: ") for number in told)
    middle = [number for number in told if bars[0] < number < bars[-1]]
    assert middle, "a line of ours came while the bar stood"
    below = [next(line for line in lines[number:] if "/60" in line) for number in middle]
    assert [line for line in below if not re.match(r"\r*\d+/60 .*loss: ", line)] == []


@pytest.mark.whole
def test_what_every_auto_decides_follows_the_state_and_is_shown_while_the_run_lives(
    local_park: Machines, tmp_path: Path
) -> None:
    """The second model is 100 times as large. So small a share makes the decision a matter of the cost alone."""
    (tmp_path / "train.py").write_text(
        "import keras, numpy as np\n"
        "for units in (20, 2_000):\n"
        "    model = keras.Sequential([keras.Input((500,)), keras.layers.Dense(units), keras.layers.Dense(1)])\n"
        "    model.compile('adam', 'mse')\n"
        "    model.fit(np.zeros((960, 500), 'float32'), np.zeros(960), epochs=6, batch_size=8, verbose=0)\n"
        "print('trained', flush=True)\n"
        "input()\n"
    )
    at, command = port(), [sys.executable, "train.py"]
    settings = ("--auto", "--every", "auto:0.001%", "--metrics-port", at)
    daemon = local_park.start("one", *settings, command=command, folder=tmp_path)
    daemon.until("trained")
    path = local_park.work_dir("one") / "00001-count" / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    small, large = (
        [event["seconds"] for event in events[begin:end] if event["event"] == "interval"]
        for begin, end in _trainings(events)
    )
    assert small
    assert large
    assert max(large) > min(small)
    found, text = scrape(at), status(local_park, "one")
    assert found["holdfast_save_interval_seconds"] == large[-1]
    assert found["holdfast_at_risk_seconds"] > large[-1]
    lost = f"at most {found['holdfast_at_risk_seconds']:.0f} s of training would be lost to a SIGKILL now"
    assert f"interval: {large[-1]:.0f} s; {lost}" in text.splitlines()


def _trainings(events: list[dict[str, Any]]) -> list[tuple[int, int]]:
    begins = [number for number, event in enumerate(events) if event["event"] == "training-began"]
    return list(zip(begins, [*begins[1:], len(events)], strict=True))

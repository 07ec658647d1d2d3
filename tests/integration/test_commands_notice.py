from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

from fakes.http import Answer, AnsweringServer, Request
from holdfast.core.errors import Exit
from holdfast.supervisor.notices.handed import Handed, notice_file
from holdfast.supervisor.report.status import find

from .daemons import Machines, wait_for


def notice(park: Machines, machine: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "holdfast", "notice", "--work-dir", str(park.work_dir(machine)), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_notice_by_hand_drains_the_daemon_and_holds_the_next_start_until_it_is_over(local_park: Machines) -> None:
    daemon = local_park.start("one", HOLD_AT="33")
    local_park.until_step("one", 33, daemon)
    wait_for(lambda: bool(find(local_park.work_dir("one"))), "the status file", alive=daemon.process)
    done = notice(local_park, "one", "--kind", "spot terminate", "--deadline", "120")
    assert daemon.wait() == Exit.STOPPED
    assert (done.returncode, done.stderr) == (0, "holdfast: the daemon of count knows that spot terminate\n")
    (noticed,) = (event for event in local_park.events("one") if event["event"] == "notice")
    assert (noticed["what"], noticed["source"]) == ("spot terminate (handed in)", "hand")
    assert 100 < noticed["seconds"] <= 120
    again = local_park.start("one")
    again.until("nothing is started while the notice stands")
    (line,) = (line for line in again.lines if "nothing is started" in line)
    command = f"holdfast notice --over --work-dir {local_park.work_dir('one')}"
    assert line.endswith(f"while the notice stands: until {ends_at(local_park)} UTC, or until you run: {command}")
    taken_back = notice(local_park, "one", "--over")
    assert (taken_back.returncode, taken_back.stderr) == (0, "holdfast: taken back: spot terminate (count)\n")
    assert again.wait() == Exit.COMPLETE


def ends_at(park: Machines) -> str:
    """Ten minutes after the deadline that the file has."""
    deadline = json.loads(notice_file(park.work_dir("one"), "count").read_bytes())["deadline"]
    return f"{datetime.fromtimestamp(deadline + 600, UTC):%Y-%m-%d %H:%M:%S}"


def test_a_notice_is_taken_back_where_no_daemon_lives(local_park: Machines) -> None:
    work_dir = local_park.work_dir("one")
    work_dir.mkdir(parents=True)
    for name, content in (("count", Handed("spot terminate", None).to_json()), ("digits", b"{")):
        notice_file(work_dir, name).write_bytes(content)
    of_one = notice(local_park, "one", "--over", "--run", "count")
    assert (of_one.returncode, of_one.stderr) == (0, "holdfast: taken back: spot terminate (count)\n")
    of_all = notice(local_park, "one", "--over")
    assert (of_all.returncode, of_all.stderr) == (0, "holdfast: taken back: a notice that cannot be read (digits)\n")
    assert list(work_dir.iterdir()) == []
    nothing = notice(local_park, "one", "--over")
    assert (nothing.returncode, nothing.stderr) == (0, f"holdfast: no notice is handed in under {work_dir}\n")


def test_a_notice_to_a_run_that_no_daemon_trains_is_kept_for_its_next_start(local_park: Machines) -> None:
    assert local_park.start("one").wait() == Exit.COMPLETE
    kept = notice(local_park, "one", "--run", "00001-count")
    assert kept.returncode == Exit.FAILED
    assert "no daemon of count works in" in kept.stderr
    assert "a start of it waits until this machine's next boot, or until you run: holdfast notice --over" in kept.stderr
    assert notice_file(local_park.work_dir("one"), "count").exists()
    for words in (("--run", "nope"), ("--run", "nope", "--over")):
        refused = notice(local_park, "one", *words)
        assert refused.returncode == Exit.USAGE
        assert "--run nope: no daemon has worked on it under" in refused.stderr
        assert "it has 00001-count" in refused.stderr
    assert not notice_file(local_park.work_dir("one"), "nope").exists()


def test_what_cannot_be_handed_in_is_one_line(local_park: Machines) -> None:
    for words, text in (
        ((), "no daemon works under"),
        (("--over",), "there is no such folder"),
        (("--run", "count", "--deadline", "soon"), "--deadline 'soon': give seconds from now (120), or a time"),
        (("--run", "count", "--kind", "(x)"), "--kind '(x)': give a short text without parentheses"),
    ):
        done = notice(local_park, "one", *words)
        assert done.returncode == Exit.USAGE
        assert text in done.stderr


def test_googles_notice_drains_too(local_park: Machines) -> None:
    """A server on loopback speaks as Google's."""
    values = {"preempted": "FALSE", "maintenance-event": "NONE"}

    def answer(request: Request) -> Answer:
        value = values[request.path.rpartition("/")[2]]
        return Answer(200, value.encode(), {"Metadata-Flavor": "Google"})

    with AnsweringServer(answer) as server:
        host = server.endpoint.removeprefix("http://")
        daemon = local_park.start("one", "--notices", "gcp", HOLD_AT="33", GCE_METADATA_HOST=host)
        local_park.until_step("one", 33, daemon)
        values["preempted"] = "TRUE"
        assert daemon.wait() == Exit.STOPPED
    assert "spot preemption (Google Compute Engine): draining, 30 s are left" in daemon.text


def test_azures_notice_drains_too(local_park: Machines) -> None:
    """A server on loopback speaks as Azure's."""
    events: list[dict[str, object]] = []

    def answer(request: Request) -> Answer:
        document = {"DocumentIncarnation": len(events), "Events": events}
        return Answer(200, b"trainer-1" if "/name" in request.path else json.dumps(document).encode())

    with AnsweringServer(answer) as server:
        daemon = local_park.start("one", "--notices", "azure", HOLD_AT="33", AZURE_METADATA_ENDPOINT=server.endpoint)
        local_park.until_step("one", 33, daemon)
        events.append({"EventType": "Preempt", "Resources": ["trainer-1"], "NotBefore": ""})
        assert daemon.wait() == Exit.STOPPED
    assert "spot eviction (Preempt, begun): draining" in daemon.text
    assert "no setting" not in daemon.text


def test_a_machine_of_no_cloud_says_nothing_and_asks_nobody(local_park: Machines) -> None:
    daemon = local_park.start("one", "--notices", "none")
    assert daemon.wait() == Exit.COMPLETE
    assert "metadata" not in daemon.text
    assert "none of EC2's" in next(e["text"] for e in local_park.events("one") if e["event"] == "no-metadata")

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from fakes.clocks import Clock, Passing
from fakes.events import RecordedEvents
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.artifacts import Limits, from_key
from holdfast.core.errors import NotFound, Permanent, StoreError, Transient
from holdfast.spool import Spool
from holdfast.store import Store, StoreSettings, open_store
from holdfast.supervisor.upload.artifacts import Artifacts

RUN = "00001-digits"
OLD = 10**18
MIB = 1 << 20
LATER = OLD + 3600 * 10**9


class Machine:
    """A machine's artifacts folder, what keeps it in the store, and what that says. Its clocks stand still."""

    def __init__(self, store: Store, folder: Path, **limits: Any) -> None:
        self.spool = Spool(folder / RUN)
        self.root = self.spool.file("artifacts")
        self.clock = Clock()
        self.wall_ns = LATER
        self.pressed = False
        self.said = RecordedEvents()
        self.artifacts = Artifacts(
            store, self.spool, Limits(**limits), self.said, self.clock, lambda: self.pressed, lambda: self.wall_ns
        )

    def write(self, path: str, content: bytes | str, mtime_ns: int = OLD) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(file, ns=(mtime_ns, mtime_ns))
        return file

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def files(self) -> dict[str, str]:
        return {str(p.relative_to(self.root)): p.read_text() for p in sorted(self.root.rglob("*")) if p.is_file()}

    def restore(self, cancelled: threading.Event | None = None) -> None:
        self.artifacts.restore(cancelled or Passing(self.clock))

    def work(self, most: int = 1000) -> int:
        """Does all that is due now; counts the jobs."""
        for number in range(most):
            job = self.artifacts.next_job()
            if job is None:
                return number
            job()
        raise AssertionError("there is no end to it")

    def insist(self, most: int = 1000) -> list[str]:
        """As the uploader does: runs what is due, over failures. Gives what failed."""
        failures = []
        for _ in range(most):
            job = self.artifacts.next_job()
            if job is None:
                return failures
            try:
                job()
            except StoreError as error:
                failures.append(str(error))
        raise AssertionError("there is no end to it")

    def sync(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            self.clock.advance(60)
            self.work()

    def conclude(self, ended: bool = True, deadline: float | None = None) -> None:
        self.artifacts.conclude(ended, deadline)
        self.insist()

    def left_out(self) -> dict[str, str]:
        said = [facts for kind, _, facts in self.said.events if kind == "artifacts-left-out"]
        return {path: facts["reason"] for facts in said for path in facts["paths"]}


@pytest.fixture
def machine(store: FlakyStore, tmp_path: Path) -> Machine:
    return Machine(store, tmp_path / "one")


@pytest.fixture
def fresh(store: FlakyStore, tmp_path: Path) -> Callable[..., Machine]:
    """Another machine, with an empty disk."""
    return lambda **limits: Machine(store, tmp_path / "two", **limits)


def stored(memory: MemoryStore) -> dict[str, str]:
    prefix = f"{RUN}/artifacts/"
    return {from_key(k.removeprefix(prefix)): v.decode() for k, v in memory.objects.items() if k.startswith(prefix)}


def index(memory: MemoryStore) -> dict[str, Any]:
    files: dict[str, Any] = json.loads(memory.objects[f"{RUN}/artifacts.json"])["files"]
    return files


@pytest.fixture(params=["directory", "s3"])
def real_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "directory":
        return open_store(str(tmp_path / "store"), StoreSettings())
    bucket: str = request.getfixturevalue("bucket")
    return open_store(f"s3://{bucket}/p", StoreSettings(endpoint_url=request.getfixturevalue("s3_server")))


# --- there and back ------------------------------------------------------------------------------------------------


def test_what_one_machine_wrote_a_fresh_one_has_with_its_times(real_store: Store, tmp_path: Path) -> None:
    one, two = Machine(real_store, tmp_path / "one"), Machine(real_store, tmp_path / "two")
    contents = {"logs/train/events.v2": "e" * 100, "best model ü.keras": "m", ".hidden": "h", "empty": ""}
    for path, content in contents.items():
        one.write(path, content)
    one.restore()
    one.sync()
    two.restore()
    assert two.files() == contents
    assert {p.stat().st_mtime_ns for p in two.root.rglob("*") if p.is_file()} == {OLD}
    assert {stat.S_IMODE(p.stat().st_mode) for p in two.root.rglob("*")} == {0o600, 0o700}
    assert two.spool.path.joinpath("artifacts").is_dir()
    assert [p.name for p in two.spool.path.iterdir()] == ["artifacts"], "nothing else is left"


def test_what_was_restored_is_not_sent_back(
    memory: MemoryStore, machine: Machine, fresh: Callable[..., Machine]
) -> None:
    machine.write("a", "content")
    machine.sync()
    before = list(memory.writes)
    two = fresh()
    two.restore()
    two.sync(3)
    assert memory.writes == before


def test_a_start_on_the_same_machine_reads_no_file_and_sends_none(
    memory: MemoryStore, machine: Machine, tmp_path: Path
) -> None:
    machine.write("a", "content")
    machine.sync()
    before, memory.reads = list(memory.writes), []
    again = Machine(memory, tmp_path / "one")
    again.restore()
    again.sync()
    assert memory.writes == before
    assert memory.reads == [f"{RUN}/artifacts.json"]


def test_without_a_folder_nothing_happens(memory: MemoryStore, machine: Machine) -> None:
    machine.restore()
    machine.sync(2)
    machine.conclude()
    assert memory.writes == []
    assert machine.said.events == []
    assert not machine.root.exists()


def test_a_limit_of_0_turns_it_off(memory: MemoryStore, machine: Machine, fresh: Callable[..., Machine]) -> None:
    machine.write("a", "content")
    machine.sync()
    off = fresh(total=0)
    off.restore()
    off.write("b", "content")
    off.sync()
    off.conclude()
    assert off.files() == {"b": "content"}
    assert set(stored(memory)) == {"a"}
    assert off.artifacts.due_in() == float("inf")


# --- to the store --------------------------------------------------------------------------------------------------


def test_the_index_comes_after_the_files_it_names(memory: MemoryStore, machine: Machine) -> None:
    machine.write("b", "22")
    machine.write("a", "1")
    machine.sync()
    assert memory.writes == [f"{RUN}/artifacts/a", f"{RUN}/artifacts/b", f"{RUN}/artifacts.json"]
    assert index(memory)["b"]["size"] == 2
    assert machine.said.events == [("artifacts-stored", "", {"files": 2, "bytes": 3, "removed": 0})]


def test_each_file_is_a_job_of_its_own_so_that_a_pair_can_come_in_between(machine: Machine) -> None:
    for name in "abc":
        machine.write(name, name)
    machine.restore()
    machine.clock.advance(60)
    assert machine.work() == 1 + 3 + 1, "the look, the files, the index"


def test_it_looks_once_in_an_interval(memory: MemoryStore, machine: Machine) -> None:
    machine.restore()
    machine.sync()
    machine.write("a", "content")
    machine.clock.advance(59)
    assert machine.artifacts.due_in() == 1
    assert machine.work() == 0
    machine.clock.advance(1)
    machine.work()
    assert set(stored(memory)) == {"a"}


def test_a_change_is_stored_and_what_stayed_is_not_touched(memory: MemoryStore, machine: Machine) -> None:
    machine.write("a", "first")
    machine.write("b", "stays")
    machine.sync()
    machine.write("a", "second", OLD + 1)
    before = len(memory.writes)
    machine.sync()
    assert stored(memory) == {"a": "second", "b": "stays"}
    assert memory.writes[before:] == [f"{RUN}/artifacts/a", f"{RUN}/artifacts.json"]


def test_a_file_that_is_being_written_is_stored_when_it_is_quiet(memory: MemoryStore, machine: Machine) -> None:
    machine.write("model", "half", machine.wall_ns)
    machine.sync()
    assert stored(memory) == {}
    machine.write("model", "whole", machine.wall_ns)
    machine.wall_ns += 60 * 10**9
    machine.sync()
    assert stored(memory) == {"model": "whole"}


def test_a_file_that_never_rests_is_stored_as_it_is_every_second_look(memory: MemoryStore, machine: Machine) -> None:
    for content in ("1", "12", "123", "1234"):
        machine.write("log", content, machine.wall_ns)
        machine.sync()
        machine.wall_ns += 60 * 10**9
    assert memory.versions[f"{RUN}/artifacts/log"] == [b"12", b"1234"]


def test_what_changed_while_it_was_sent_is_sent_again(memory: MemoryStore, store: FlakyStore, machine: Machine) -> None:
    file = machine.write("model", "old")

    def meddle(operation: str, key: str) -> None:
        if key.endswith("/model") and file.read_text() == "old":
            file.write_text("newer")

    store.before = meddle
    machine.sync()
    assert index(memory)["model"]["sha256"] is None, "the record says that it was changing"
    machine.wall_ns = file.stat().st_mtime_ns + 10**10
    machine.sync()
    assert stored(memory) == {"model": "newer"}
    assert index(memory)["model"]["sha256"] is not None


def test_a_file_that_is_replaced_while_it_is_sent_is_stored_whole(
    memory: MemoryStore, store: FlakyStore, machine: Machine
) -> None:
    file = machine.write("model", "the old one")

    def meddle(operation: str, key: str) -> None:
        if operation == "put" and key.endswith("/model") and file.read_text() == "the old one":
            os.replace(machine.write("new", "the new one", OLD + 5), file)

    store.before = meddle
    machine.sync()
    assert stored(memory)["model"] == "the old one"
    assert index(memory)["model"]["sha256"] is not None
    machine.sync()
    assert stored(memory)["model"] == "the new one"


def test_a_large_growing_file_rests_longer_than_it_takes(
    memory: MemoryStore, store: FlakyStore, machine: Machine
) -> None:
    store.before = lambda operation, key: machine.clock.advance(10 if key.endswith("/log") else 0)
    for second in range(5):
        machine.write("log", "x" * second, OLD + second)
        machine.sync()
    assert [len(data) for data in memory.versions[f"{RUN}/artifacts/log"]] == [0, 4]
    machine.write("log", "the end", OLD + 99)
    machine.conclude()
    assert stored(memory)["log"] == "the end", "the end does not wait"


def test_a_file_that_vanishes_between_look_and_sending_is_no_error(
    memory: MemoryStore, store: FlakyStore, machine: Machine
) -> None:
    machine.write("a", "1")
    gone = machine.write("b", "22")
    store.before = lambda operation, key: gone.unlink(missing_ok=True)
    machine.sync(3)
    assert stored(memory) == {"a": "1"}
    assert machine.left_out() == {}


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe", "socket", "linked folder"])
def test_what_is_no_file_is_left_out_and_said_once(
    memory: MemoryStore, machine: Machine, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.write("a", "1")
    odd = machine.root / "odd"
    if kind == "link":
        odd.symlink_to("/etc/hostname")
    elif kind == "dangling":
        odd.symlink_to("nowhere")
    elif kind == "linked folder":
        odd.symlink_to("/etc")
    elif kind == "pipe":
        os.mkfifo(odd)
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            monkeypatch.chdir(machine.root)  # a socket's path must be short
            listener.bind(odd.name)
    machine.sync(3)
    assert set(stored(memory)) == {"a"}
    assert machine.said.kinds().count("artifacts-left-out") == 1
    assert set(machine.left_out()) == {"odd"}


def test_a_folder_that_is_a_link_is_left_out_whole(memory: MemoryStore, machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_text("1")
    machine.root.symlink_to(tmp_path / "elsewhere")
    machine.sync()
    assert stored(memory) == {}
    assert machine.left_out() == {".": "artifacts/ itself is a link"}


def test_names_in_what_is_said_are_harmless(machine: Machine) -> None:
    machine.root.mkdir()
    for name in (b"odd\x1b[2J\n", b"broken\xff"):
        os.symlink("nowhere", os.fsencode(machine.root) + b"/" + name)
    machine.sync()
    assert all(text.isprintable() for _, text, _ in machine.said.events)


# --- removing ------------------------------------------------------------------------------------------------------


def test_what_the_script_removed_goes_from_the_store_after_two_looks(memory: MemoryStore, machine: Machine) -> None:
    gone = machine.write("old", "1")
    machine.write("new", "22")
    machine.sync()
    gone.unlink()
    machine.sync()
    assert set(stored(memory)) == {"old", "new"}, "it may be written anew"
    machine.sync()
    assert set(stored(memory)) == {"new"}
    assert set(index(memory)) == {"new"}


def test_a_file_that_comes_back_is_kept(memory: MemoryStore, machine: Machine) -> None:
    file = machine.write("best", "1")
    machine.sync()
    file.unlink()
    machine.sync()
    machine.write("best", "2", OLD + 1)
    machine.sync()
    assert stored(memory) == {"best": "2"}


def test_a_file_that_comes_back_at_the_last_moment_is_kept(memory: MemoryStore, machine: Machine) -> None:
    file = machine.write("best", "1")
    machine.sync()
    file.unlink()
    machine.sync()
    machine.clock.advance(60)
    look = machine.artifacts.next_job()
    assert look is not None
    look()
    machine.write("best", "2", OLD + 1)
    machine.work()
    assert stored(memory) == {"best": "1"}


@pytest.mark.parametrize(("ended", "left"), [(True, set()), (False, {"old"})], ids=["ended", "stopped"])
def test_at_the_end_what_is_missing_was_meant_to_go_only_if_the_command_ended_by_itself(
    memory: MemoryStore, machine: Machine, ended: bool, left: set[str]
) -> None:
    gone = machine.write("old", "1")
    machine.sync()
    gone.unlink()
    machine.conclude(ended)
    assert set(stored(memory)) == left


def test_what_this_machine_never_had_is_not_removed(
    memory: MemoryStore, store: FlakyStore, machine: Machine, fresh: Callable[..., Machine]
) -> None:
    machine.write("small", "1")
    machine.write("large", "x" * 100)
    machine.sync()
    two = fresh()
    store.fail("fetch", Permanent("no rights"), suffix="/large")
    two.restore()
    two.sync(3)
    two.conclude()
    assert set(stored(memory)) == {"small", "large"}
    assert two.left_out() == {"large": "no rights"}
    assert "large" in index(memory)


def test_what_was_restored_and_then_removed_goes(
    memory: MemoryStore, machine: Machine, fresh: Callable[..., Machine]
) -> None:
    machine.write("old", "1")
    machine.sync()
    two = fresh()
    two.restore()
    (two.root / "old").unlink()
    two.sync(2)
    assert stored(memory) == {}


def test_a_folder_that_is_gone_as_a_whole_takes_nothing_with_it(memory: MemoryStore, machine: Machine) -> None:
    machine.write("a", "1")
    machine.sync()
    shutil.rmtree(machine.root)
    machine.sync(3)
    machine.conclude()
    assert stored(memory) == {"a": "1"}


def test_what_became_a_link_stays_as_it_was_stored(memory: MemoryStore, machine: Machine, tmp_path: Path) -> None:
    machine.write("logs/a", "1")
    machine.sync()
    (machine.root / "logs").rename(tmp_path / "moved")
    (machine.root / "logs").symlink_to("nowhere")
    machine.sync(3)
    machine.conclude()
    assert stored(memory) == {"logs/a": "1"}


# --- failures ------------------------------------------------------------------------------------------------------


def test_a_write_that_fails_is_tried_again_after_the_others(
    memory: MemoryStore, store: FlakyStore, machine: Machine
) -> None:
    machine.write("a", "1")
    machine.write("b", "22")
    machine.restore()
    machine.clock.advance(60)
    store.fail("put", Transient("away"), suffix="/a", times=2)
    assert machine.insist() == ["away", "away"]
    assert memory.writes == [f"{RUN}/artifacts/{name}" for name in "ba"] + [f"{RUN}/artifacts.json"]


@pytest.mark.parametrize("error", [Permanent("refused"), Transient("away")])
def test_what_can_never_be_stored_is_reported_and_holds_up_neither_the_rest_nor_the_end(
    memory: MemoryStore, store: FlakyStore, machine: Machine, error: StoreError
) -> None:
    machine.write("a", "1")
    machine.write("b", "22")
    store.fail("put", error, suffix="/a", times=100)
    machine.conclude()
    assert stored(memory) == {"b": "22"}
    assert machine.left_out() == {"a": str(error)}
    assert machine.artifacts.next_job() is None


def test_what_was_refused_is_tried_again_at_the_next_look(
    memory: MemoryStore, store: FlakyStore, machine: Machine
) -> None:
    machine.write("a", "1")
    store.fail("put", Permanent("refused"))
    machine.sync(2)
    assert stored(memory) == {"a": "1"}


def test_an_outage_at_the_start_costs_no_entry_of_the_index(
    memory: MemoryStore, store: FlakyStore, machine: Machine, fresh: Callable[..., Machine]
) -> None:
    machine.write("theirs", "1")
    machine.sync()
    two = fresh()
    store.fail("list", Transient("away"), times=20)
    two.restore()
    assert two.said.kinds() == ["store-away", "artifacts-later"]
    two.write("mine", "22")
    two.clock.advance(60)
    two.insist()
    assert set(index(memory)) == {"theirs", "mine"}
    assert two.files() == {"theirs": "1", "mine": "22"}


@pytest.mark.parametrize("index", [b'{"files": {"../../x": 5}}', b" " * (17 << 20)], ids=["hostile", "huge"])
def test_an_index_that_is_none_is_reported_and_the_files_are_restored(
    memory: MemoryStore, machine: Machine, fresh: Callable[..., Machine], index: bytes
) -> None:
    machine.write("a", "1")
    machine.sync()
    memory.objects[f"{RUN}/artifacts.json"] = index
    two = fresh()
    two.restore()
    assert two.files() == {"a": "1"}
    assert "../artifacts.json" in two.left_out()


def test_an_index_that_cannot_be_written_does_not_hold_up_the_end(store: FlakyStore, machine: Machine) -> None:
    machine.write("a", "1")
    store.fail("put", Permanent("refused"), suffix="artifacts.json", times=5000)
    machine.conclude()
    assert machine.left_out() == {"../artifacts.json": "refused"}


# --- from the store ------------------------------------------------------------------------------------------------


def test_what_is_newer_here_is_left_alone_and_sent(memory: MemoryStore, machine: Machine, tmp_path: Path) -> None:
    machine.write("a", "stored")
    machine.sync()
    two = Machine(memory, tmp_path / "two")
    two.write("a", "newer", OLD + 1)
    two.restore()
    assert two.read("a") == "newer"
    two.sync()
    assert stored(memory) == {"a": "newer"}


def test_what_is_newer_here_yields_where_another_machine_had_the_run_since(
    machine: Machine, fresh: Callable[..., Machine]
) -> None:
    """Its training continued without this file; what is written next belongs to that training."""
    machine.write("best", "by the other machine", OLD)
    machine.restore()
    machine.sync(2)
    back = fresh()
    back.write("best", "by this one, cut off before", LATER - 1)
    back.artifacts.restore(Passing(back.clock), continues=False)
    assert back.read("best") == "by the other machine"
    assert "another machine had the run since this one" in back.left_out()["best"]


def test_what_is_older_here_is_brought_up_to_date(machine: Machine, fresh: Callable[..., Machine]) -> None:
    machine.write("a", "stored")
    machine.sync()
    two = fresh()
    two.write("a", "older!", OLD - 1)
    two.restore()
    assert two.read("a") == "stored"


def test_what_the_command_wrote_meanwhile_is_not_replaced_in_the_background(
    memory: MemoryStore, store: FlakyStore, machine: Machine, fresh: Callable[..., Machine]
) -> None:
    machine.write("a", "stored")
    machine.write("b", "stored, too")
    machine.sync()
    two = fresh(wait=0)
    two.write("a", "older", OLD - 1)
    two.restore()
    assert two.said.kinds() == ["artifacts-later"]
    store.before = lambda operation, key: two.write("b", "new") and None if operation == "fetch" else None
    memory.reads.clear()
    two.work()
    assert two.files() == {"a": "older", "b": "new"}
    assert memory.reads == [f"{RUN}/artifacts.json", f"{RUN}/artifacts/b"], "what is here is not even fetched"


def test_what_takes_too_long_comes_while_the_command_runs(
    store: FlakyStore, machine: Machine, fresh: Callable[..., Machine]
) -> None:
    for name, size in (("a", 1), ("b", 1), ("c", 2)):
        machine.write(name, b"x" * size * MIB)
    machine.sync()
    two = fresh(wait=60)
    store.before = lambda operation, key: two.clock.advance(25) if operation == "fetch" else None
    two.restore()
    assert set(two.files()) == {"a", "b"}, "50 s are over, and the next would take as long"
    two.work()
    assert set(two.files()) == {"a", "b", "c"}


def test_a_cancelled_restore_ends_at_once(store: FlakyStore, machine: Machine, fresh: Callable[..., Machine]) -> None:
    for name in "abc":
        machine.write(name, name)
    machine.sync()
    two, cancelled = fresh(), threading.Event()
    store.before = lambda operation, key: cancelled.set() if operation == "fetch" else None
    two.restore(cancelled)
    assert len(two.files()) == 1


def test_an_object_that_is_newer_than_the_index_is_taken(
    memory: MemoryStore, machine: Machine, fresh: Callable[..., Machine]
) -> None:
    machine.write("a", "first")
    machine.write("b", "first")
    machine.sync()
    memory.objects[f"{RUN}/artifacts/a"] = b"longer than the first"
    memory.objects[f"{RUN}/artifacts/b"] = b"other"
    two = fresh()
    two.restore()
    assert two.files() == {"a": "longer than the first", "b": "other"}
    doubts = [facts["path"] for kind, _, facts in two.said.events if kind == "artifact-doubtful"]
    assert doubts == ["b"], "the same size and another checksum: stored after the index, or damaged"


@pytest.mark.parametrize("name", ["../escaped", "../../escaped", "a/../../escaped", "/escaped", "@2E@2E/escaped"])
def test_a_hostile_name_is_refused(
    memory: MemoryStore, fresh: Callable[..., Machine], tmp_path: Path, name: str
) -> None:
    memory.objects[f"{RUN}/artifacts/{name}"] = b"evil"
    memory.objects[f"{RUN}/artifacts/good"] = b"good"
    two = fresh()
    two.restore()
    assert two.files() == {"good": "good"}
    assert list(tmp_path.rglob("*escaped*")) == []
    assert list(two.left_out()) == [name]


@pytest.mark.parametrize("key", ["@C3@A9" * 100, "x" * 201, "/".join(["x" * 100] * 8)], ids=["escaped", "part", "key"])
def test_what_the_store_has_under_too_long_a_name_is_left_out_and_holds_up_nothing(
    memory: MemoryStore, fresh: Callable[..., Machine], key: str
) -> None:
    memory.objects[f"{RUN}/artifacts/{key}"] = b"odd"
    memory.objects[f"{RUN}/artifacts/good"] = b"good"
    two = fresh()
    two.restore()
    assert two.files() == {"good": "good"}
    assert list(two.left_out().values()) == ["its name is too long"]
    two.write("mine", "22")
    two.sync(3)
    two.conclude()
    assert set(stored(memory)) == {"good", "mine", from_key(key)}


@pytest.mark.parametrize("leads", ["folder", "file", "root"])
def test_a_link_on_this_machine_leads_nothing_out_of_the_folder(
    memory: MemoryStore, fresh: Callable[..., Machine], tmp_path: Path, leads: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("untouched")
    two = fresh()
    if leads == "root":
        two.root.symlink_to(outside)
    else:
        two.root.mkdir()
        (two.root / "logs").symlink_to(outside if leads == "folder" else outside / "file")
    memory.objects[f"{RUN}/artifacts/logs/file" if leads == "folder" else f"{RUN}/artifacts/logs"] = b"evil"
    two.restore()
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [("file", "untouched")]


def test_a_store_that_offers_more_than_the_limit_does_not_fill_the_disk(
    memory: MemoryStore, fresh: Callable[..., Machine]
) -> None:
    for name in "abc":
        memory.objects[f"{RUN}/artifacts/{name}"] = name.encode() * 40
    two = fresh(total=100)
    two.restore()
    assert set(two.files()) == {"a", "b"}
    assert set(two.left_out()) == {"c"}


# --- the end -------------------------------------------------------------------------------------------------------


def test_the_end_takes_one_more_look_and_then_has_nothing_more_to_do(memory: MemoryStore, machine: Machine) -> None:
    machine.restore()
    machine.write("log", "the end", machine.wall_ns)
    machine.conclude()
    assert stored(memory) == {"log": "the end"}
    machine.write("late", "1")
    machine.clock.advance(600)
    machine.artifacts.conclude(True, None)
    assert machine.artifacts.next_job() is None


def test_before_a_deadline_only_what_can_make_it_is_sent(
    memory: MemoryStore, store: FlakyStore, machine: Machine
) -> None:
    machine.write("first", b"x" * MIB)
    store.before = lambda operation, key: machine.clock.advance(10 if "/artifacts/" in key else 0)
    machine.sync()
    machine.write("small", "x" * 10)
    machine.write("large", b"x" * 5 * MIB)
    machine.conclude(ended=False, deadline=machine.clock() + 33)
    assert set(stored(memory)) == {"first", "small"}
    assert set(index(memory)) == {"first", "small"}, "the index knows what was brought"
    assert machine.left_out() == {"large": "no time is left to store it"}


def test_what_turns_out_too_slow_is_given_up_before_the_deadline(
    memory: MemoryStore, store: FlakyStore, machine: Machine
) -> None:
    machine.write("a", "1")
    store.before = lambda operation, key: machine.clock.advance(28 if operation == "put" else 0)
    machine.conclude(ended=False, deadline=machine.clock() + 30)
    assert stored(memory) == {}
    assert machine.left_out() == {"a": "no time is left to store it"}


def test_what_a_pair_knows_of_is_sent_before_it_with_the_index_and_alone(memory: MemoryStore, machine: Machine) -> None:
    machine.restore()
    machine.write("other", "not asked for")
    machine.write("best", "of epoch 3", mtime_ns=LATER)
    machine.artifacts.bring(["best", "missing"])
    assert stored(memory) == {"best": "of epoch 3"}
    assert set(index(memory)) == {"best"}
    writes = len(memory.writes)
    machine.artifacts.bring(["best"])
    assert len(memory.writes) == writes, "the store has it already"


def test_what_a_pair_knows_of_and_changes_on_its_way_is_sent_until_it_is_whole(
    memory: MemoryStore, store: FlakyStore, machine: Machine
) -> None:
    machine.restore()
    file = machine.write("best", "half")
    texts = ["more", "whole"]

    def write_on(operation: str, key: str) -> None:
        if operation == "put" and key.endswith("/best") and texts:
            file.write_text(texts.pop(0))

    store.before = write_on
    machine.artifacts.bring(["best"])
    assert stored(memory) == {"best": "whole"}
    assert index(memory)["best"]["sha256"] is not None


def test_what_a_pair_knows_of_leads_through_no_link(memory: MemoryStore, machine: Machine, tmp_path: Path) -> None:
    machine.restore()
    machine.write("a", "")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (machine.root / "link").symlink_to(tmp_path / "outside")
    machine.artifacts.bring(["link/secret"])
    assert stored(memory) == {}


def test_what_a_pair_knows_of_and_can_never_be_stored_does_not_hold_up_the_pair(
    memory: MemoryStore, store: FlakyStore, machine: Machine
) -> None:
    machine.restore()
    machine.write("best", "x")
    store.fail("put", Permanent("no rights"), suffix="/best")
    machine.artifacts.bring(["best"])
    assert machine.left_out() == {"best": "no rights"}


def test_an_outage_holds_up_the_pair_for_a_while_as_it_would_fail_too(
    memory: MemoryStore, store: FlakyStore, machine: Machine
) -> None:
    machine.restore()
    machine.write("best", "x")
    store.outage = Transient("away")
    with pytest.raises(Transient):
        machine.artifacts.bring(["best"])
    store.outage = None
    machine.artifacts.bring(["best"])
    assert stored(memory) == {"best": "x"}


def test_a_file_on_its_way_gives_way_to_a_pair_and_comes_later(
    memory: MemoryStore, store: FlakyStore, machine: Machine
) -> None:
    machine.write("large", "x" * 100)

    def save_a_pair(operation: str, key: str) -> None:
        machine.pressed = operation == "put"

    store.before = save_a_pair
    machine.sync()
    assert stored(memory) == {}
    store.before = lambda operation, key: None
    machine.pressed = False
    machine.sync()
    assert set(stored(memory)) == {"large"}


def test_a_real_server_gets_whole_files_of_many_parts(s3_server: str, bucket: str, tmp_path: Path) -> None:
    store = open_store(f"s3://{bucket}/p", StoreSettings(endpoint_url=s3_server))
    one, two = Machine(store, tmp_path / "one"), Machine(store, tmp_path / "two")
    one.write("large", os.urandom(40 << 20))
    one.conclude()
    assert boto3.client("s3", endpoint_url=s3_server).head_object(Bucket=bucket, Key=f"p/{RUN}/artifacts/large")
    two.restore()
    assert (two.root / "large").read_bytes() == (one.root / "large").read_bytes()


def test_what_the_store_lost_is_reported(memory: MemoryStore, store: FlakyStore, fresh: Callable[..., Machine]) -> None:
    memory.objects[f"{RUN}/artifacts/a"] = b"1"
    store.fail("fetch", NotFound("gone"))
    two = fresh()
    two.restore()
    assert two.left_out() == {"a": "gone"}

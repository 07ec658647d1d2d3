from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.pairs import content_of, name_of, save_pair
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import Conflict, InvalidPair, NotFound, Permanent, StoreError, Transient
from holdfast.core.manifest import PARTS, CheckpointName
from holdfast.core.policy import Backoff, Retention
from holdfast.spool import Spool
from holdfast.supervisor.logs import GrowingLogs
from holdfast.supervisor.upload import Pace, Uploader, store_pair

RUN = "00001-digits"
NEVER = 3600.0
AT_ONCE = Backoff(first=0.001, most=0.002)


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(memory: MemoryStore) -> FlakyStore:
    return FlakyStore(memory)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / RUN)


def key(name: CheckpointName, part: str) -> str:
    return f"{RUN}/{name.file(part)}"


def manifests(memory: MemoryStore) -> list[str]:
    """The manifests in the order in which they were written."""
    return [written for written in memory.writes if "/model-" in written and written.endswith(".json")]


class Uploading:
    """An uploader at work, and what it reports."""

    def __init__(self, store: FlakyStore, spool: Spool, keep: int = 2, logs: float = NEVER) -> None:
        self.store = store
        self.spool = spool
        self.heard: list[tuple[str, object]] = []
        self.finished: list[bool] = []
        self.grown: list[tuple[str, Path]] = []
        self._changed = threading.Condition()
        self.uploader = Uploader(
            store, spool, self, self._logs, self._finish, Retention(keep), Pace(logs=logs, backoff=AT_ONCE)
        )

    def save(self, *names: CheckpointName) -> None:
        for name in names:
            save_pair(self.spool, name)
            self.uploader.add(name)

    def of(self, kind: str) -> list[object]:
        return [what for heard, what in self.heard if heard == kind]

    def until(self, reached: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(reached, timeout=30), self.heard

    def until_heard(self, kind: str, times: int = 1) -> None:
        self.until(lambda: len(self.of(kind)) >= times)

    def conclude(self, complete: bool = False) -> None:
        self.uploader.finalize(complete)
        self.until_heard("finalized")

    # what the uploader calls, from its own thread

    def stored(self, name: CheckpointName, size: int, seconds: float) -> None:
        assert self.store.get(key(name, "json"))
        self._hear("stored", name)

    def lost(self, name: CheckpointName, error: str) -> None:
        self._hear("lost", name)

    def failing(self, error: str, retry_in: float) -> None:
        self._hear("failing", error)

    def finalized(self) -> None:
        self._hear("finalized", None)

    def _logs(self) -> list[tuple[str, Path]]:
        grown, self.grown = self.grown, []
        return grown

    def _finish(self, complete: bool) -> None:
        if self.store.outage is not None:
            raise self.store.outage
        self.finished.append(complete)

    def _hear(self, kind: str, what: object) -> None:
        with self._changed:
            self.heard.append((kind, what))
            self._changed.notify_all()


@pytest.fixture
def uploading(store: FlakyStore, spool: Spool) -> Iterator[Uploading]:
    uploading = Uploading(store, spool)
    yield uploading
    end(uploading)


def end(uploading: Uploading) -> None:
    """Its thread is over when this returns."""
    uploading.uploader.drop()
    for thread in threading.enumerate():
        if thread.name == "upload":
            thread.join(timeout=30)
            assert not thread.is_alive()


# --- one pair ------------------------------------------------------------------------------------------------------


def test_the_data_is_written_before_the_manifest(memory: MemoryStore, spool: Spool) -> None:
    manifest = save_pair(spool, name_of(1))
    assert store_pair(memory, spool, name_of(1)) == manifest.size
    assert memory.writes == [key(name_of(1), part) for part in (*PARTS, "json")]
    assert memory.objects[key(name_of(1), "h5")] == content_of(name_of(1), "h5")


@pytest.mark.parametrize("part", PARTS)
def test_without_all_its_data_in_the_store_a_pair_gets_no_manifest(
    memory: MemoryStore, store: FlakyStore, spool: Spool, part: str
) -> None:
    save_pair(spool, name_of(1))
    store.fail("put", Transient("away"), suffix=part)
    with pytest.raises(Transient):
        store_pair(store, spool, name_of(1))
    assert manifests(memory) == []


def test_a_manifest_that_is_there_already_with_the_same_content_is_as_good_as_stored(
    memory: MemoryStore, store: FlakyStore, spool: Spool
) -> None:
    save_pair(spool, name_of(1))
    store.fail("create", Transient("no answer"), after=True)
    with pytest.raises(Transient):
        store_pair(store, spool, name_of(1))
    store_pair(store, spool, name_of(1))
    assert manifests(memory) == [key(name_of(1), "json")]


def test_another_pairs_manifest_is_never_overwritten(memory: MemoryStore, spool: Spool) -> None:
    save_pair(spool, name_of(1))
    memory.create(key(name_of(1), "json"), b"another's")
    with pytest.raises(Conflict):
        store_pair(memory, spool, name_of(1))
    assert memory.objects[key(name_of(1), "json")] == b"another's"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("content", [None, b"cut"], ids=["missing", "cut"])
def test_a_pair_whose_data_is_not_what_its_manifest_says_is_not_stored(
    memory: MemoryStore, spool: Spool, part: str, content: bytes | None
) -> None:
    save_pair(spool, name_of(1))
    path = spool.file(name_of(1).file(part))
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises((InvalidPair, OSError)):
        store_pair(memory, spool, name_of(1))
    assert memory.writes == []


# --- the uploader --------------------------------------------------------------------------------------------------


def test_what_is_saved_is_stored_and_reported(memory: MemoryStore, uploading: Uploading) -> None:
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.until_heard("stored")
    uploading.save(name_of(2))
    uploading.until_heard("stored", 2)
    assert uploading.heard == [("stored", name_of(1)), ("stored", name_of(2))]
    assert manifests(memory) == [key(name_of(1), "json"), key(name_of(2), "json")]
    assert uploading.uploader.paid == {name_of(1), name_of(2)}


@pytest.mark.parametrize("error", [Transient("away"), Permanent("no rights"), NotFound("no bucket")])
@pytest.mark.parametrize(("operation", "suffix"), [("put", ".h5"), ("put", ".pkl"), ("create", ".json")])
def test_a_write_that_fails_is_repeated_until_the_pair_is_stored(
    store: FlakyStore, uploading: Uploading, operation: str, suffix: str, error: StoreError
) -> None:
    store.fail(operation, error, suffix=suffix, times=3)
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.until_heard("stored")
    assert [kind for kind, _ in uploading.heard] == ["failing"] * 3 + ["stored"]
    assert uploading.of("failing") == [str(error)] * 3


@pytest.mark.parametrize(("operation", "suffix"), [("put", ".h5"), ("put", ".pkl"), ("create", ".json")])
def test_a_write_that_arrived_without_an_answer_is_repeated_without_harm(
    memory: MemoryStore, store: FlakyStore, uploading: Uploading, operation: str, suffix: str
) -> None:
    store.fail(operation, Transient("no answer"), suffix=suffix, after=True)
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.until_heard("stored")
    assert [kind for kind, _ in uploading.heard] == ["failing", "stored"]
    assert manifests(memory) == [key(name_of(1), "json")]


def test_a_pair_that_the_store_has_already_counts_as_stored(store: FlakyStore, uploading: Uploading) -> None:
    save_pair(uploading.spool, name_of(1))
    store_pair(store, uploading.spool, name_of(1))
    uploading.uploader.start()
    uploading.uploader.add(name_of(1))
    uploading.until_heard("stored")


def test_a_pair_whose_name_is_anothers_is_reported_lost_and_never_tried_again(
    memory: MemoryStore, uploading: Uploading
) -> None:
    memory.create(key(name_of(1), "json"), b"another's")
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.conclude()
    assert uploading.heard == [("lost", name_of(1)), ("finalized", None)]
    assert name_of(1) in uploading.uploader.paid


@pytest.mark.parametrize("part", ["h5", "pkl", "json"])
def test_a_pair_that_is_no_longer_on_this_machine_is_reported_lost_and_holds_up_no_other(
    uploading: Uploading, part: str
) -> None:
    uploading.save(name_of(1), name_of(2))
    uploading.spool.file(name_of(2).file(part)).unlink()
    uploading.uploader.start()
    uploading.conclude()
    assert uploading.heard == [("lost", name_of(2)), ("stored", name_of(1)), ("finalized", None)]


def test_after_an_outage_the_newest_pair_is_stored_first(
    memory: MemoryStore, store: FlakyStore, uploading: Uploading
) -> None:
    store.outage = Transient("away")
    uploading.uploader.start()
    for save in (1, 2, 3):
        uploading.save(name_of(save))
        uploading.until_heard("failing", len(uploading.of("failing")) + 1)
    assert memory.objects == {}
    store.outage = None
    uploading.conclude()
    assert manifests(memory) == [key(name_of(save), "json") for save in (3, 2, 1)]


def test_after_a_drop_nothing_more_is_written(memory: MemoryStore, store: FlakyStore, uploading: Uploading) -> None:
    store.outage = Transient("away")
    uploading.uploader.start()
    uploading.save(name_of(1), name_of(2))
    uploading.uploader.finalize(True)
    uploading.until_heard("failing")
    end(uploading)
    store.outage = None
    uploading.uploader.add(name_of(1))
    assert memory.writes == []
    assert uploading.finished == []
    assert uploading.of("finalized") == []


def test_a_drop_in_the_middle_of_a_pair_begins_no_other(
    memory: MemoryStore, store: FlakyStore, uploading: Uploading
) -> None:
    uploading.save(name_of(1), name_of(2))
    store.before = lambda operation, key: uploading.uploader.drop()
    uploading.uploader.start()
    end(uploading)
    assert not any(str(name_of(1)) in written for written in memory.writes)


def test_the_end_waits_for_what_is_owed(store: FlakyStore, uploading: Uploading) -> None:
    store.outage = Transient("away")
    uploading.uploader.start()
    uploading.save(name_of(1), name_of(2))
    uploading.uploader.finalize(True)
    uploading.until_heard("failing", 3)
    assert uploading.finished == []
    store.outage = None
    uploading.until_heard("finalized")
    assert [what for what in uploading.heard if what[0] != "failing"] == [
        ("stored", name_of(2)),
        ("stored", name_of(1)),
        ("finalized", None),
    ]
    assert uploading.finished == [True]


@pytest.mark.parametrize("complete", [True, False])
def test_the_end_is_told_whether_the_run_is_complete(uploading: Uploading, complete: bool) -> None:
    uploading.uploader.start()
    uploading.conclude(complete)
    assert uploading.finished == [complete]


def test_this_machine_keeps_the_last_two_pairs(memory: MemoryStore, uploading: Uploading) -> None:
    uploading.uploader.start()
    for save in range(1, 6):
        uploading.save(name_of(save))
        uploading.until_heard("stored", save)
    uploading.conclude()
    assert uploading.spool.pairs() == [name_of(5), name_of(4)]
    assert not uploading.spool.file(name_of(3).file("h5")).exists()
    assert len(manifests(memory)) == 5


def test_what_is_owed_is_kept_however_much_it_is(store: FlakyStore, uploading: Uploading) -> None:
    names = [name_of(save) for save in range(1, 6)]
    kept: list[int] = []
    store.before = lambda operation, key: kept.append(len(uploading.spool.pairs())) if key.endswith(".h5") else None
    uploading.save(*names)
    uploading.uploader.start()
    uploading.conclude()
    assert uploading.of("stored") == names[::-1]
    assert kept == [5, 5, 5, 4, 3]
    assert uploading.spool.pairs() == names[:2:-1]


# --- logs and other files ------------------------------------------------------------------------------------------


def test_logs_are_brought_now_and_then(memory: MemoryStore, store: FlakyStore, spool: Spool) -> None:
    uploading = Uploading(store, spool, logs=0.0)
    spool.file("log.txt").write_bytes(b"some lines")
    arrived = threading.Event()
    store.before = lambda operation, key: arrived.set()
    uploading.grown = [(f"{RUN}/log-i1.txt", spool.file("log.txt"))]
    uploading.uploader.start()
    assert arrived.wait(timeout=30)
    uploading.conclude()
    assert memory.writes == [f"{RUN}/log-i1.txt"]


def test_logs_and_other_files_are_brought_before_the_end(memory: MemoryStore, uploading: Uploading) -> None:
    for name in ("log.txt", "training_options.json"):
        uploading.spool.file(name).write_text(name)
    uploading.uploader.start()
    uploading.uploader.bring(f"{RUN}/training_options.json", uploading.spool.file("training_options.json"))
    uploading.grown = [(f"{RUN}/log-i1.txt", uploading.spool.file("log.txt"))]
    uploading.conclude()
    assert memory.objects == {f"{RUN}/training_options.json": b"training_options.json", f"{RUN}/log-i1.txt": b"log.txt"}


@pytest.mark.parametrize("failing", ["log-i1.txt", "training_options.json"])
def test_a_log_that_could_not_be_brought_is_brought_again_before_the_end(
    memory: MemoryStore, store: FlakyStore, uploading: Uploading, failing: str
) -> None:
    for name in ("log.txt", "training_options.json"):
        uploading.spool.file(name).write_text(name)
    store.fail("put", Transient("away"), suffix=failing, times=2)
    uploading.uploader.bring(f"{RUN}/training_options.json", uploading.spool.file("training_options.json"))
    uploading.grown = [(f"{RUN}/log-i1.txt", uploading.spool.file("log.txt"))]
    uploading.uploader.start()
    uploading.conclude()
    assert set(memory.objects) == {f"{RUN}/log-i1.txt", f"{RUN}/training_options.json"}
    assert len(uploading.of("failing")) == 2


def test_a_file_that_is_gone_does_not_hold_up_the_end(memory: MemoryStore, uploading: Uploading) -> None:
    uploading.uploader.bring(f"{RUN}/gone", uploading.spool.file("gone"))
    uploading.uploader.start()
    uploading.conclude()
    assert memory.writes == []
    assert uploading.finished == [False]


def test_each_incarnation_has_a_log_of_its_own_that_grows(spool: Spool) -> None:
    spool.file("log.txt").write_bytes(b"an earlier incarnation's\n")
    logs = GrowingLogs(spool, 2)
    assert logs.changed() == []

    with spool.file("log.txt").open("ab") as file:
        file.write(b"first\n")
    [(stored_as, copy)] = logs.changed()
    assert stored_as == f"{RUN}/log-i2.txt"
    assert copy.read_bytes() == b"first\n"
    assert logs.changed() == []

    with spool.file("log.txt").open("ab") as file:
        file.write(b"second\n")
    [(_, copy)] = logs.changed()
    assert copy.read_bytes() == b"first\nsecond\n"


def test_the_events_of_a_start_are_stored_from_its_beginning(spool: Spool) -> None:
    spool.file("events.jsonl").write_bytes(b'{"event": "waiting"}\n')
    [(stored_as, copy)] = GrowingLogs(spool, 2).changed()
    assert stored_as == f"{RUN}/events-i2.jsonl"
    assert copy.read_bytes() == b'{"event": "waiting"}\n'

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import pytest

from fakes.clocks import Clock
from fakes.pairs import content_of, name_of, save_pair
from fakes.rounds import Rounds
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import (
    Conflict,
    Corrupted,
    Fenced,
    InvalidPair,
    NotFound,
    Permanent,
    SourceError,
    StoreError,
    Transient,
)
from holdfast.core.manifest import PARTS, Manifest
from holdfast.core.policy import Backoff, Retention
from holdfast.spool import PART, TEMPORARY, Spool
from holdfast.supervisor.upload.between_pairs import Closing, Job, Task
from holdfast.supervisor.upload.store_pair import store_pair
from holdfast.supervisor.upload.uploader import Uploader

RUN = "00001-digits"
AT_ONCE = Backoff(first=0.001, most=0.002)


def key(name: CheckpointName, part: str) -> str:
    return f"{RUN}/{name.file(part)}"


def manifests(memory: MemoryStore) -> list[str]:
    """The manifests in the order in which they were written."""
    return [written for written in memory.writes if "/model-" in written and written.endswith(".json")]


class Uploading:
    """An uploader at work, and what it reports."""

    def __init__(
        self,
        store: FlakyStore,
        spool: Spool,
        *tasks: Task,
        keep: int = 2,
        spare: Collection[CheckpointName] = (),
        incarnation: int = 0,
    ) -> None:
        self.store = store
        self.spool = spool
        self.heard: list[tuple[str, object]] = []
        self.finished: list[bool] = []
        self.fenced = False
        self.clock = Clock()
        self._changed = threading.Condition()
        self.uploader = Uploader(
            store,
            spool,
            self,
            tasks,
            self._finish,
            Retention(keep),
            spare=spare,
            incarnation=incarnation,
            backoff=AT_ONCE,
            clock=self.clock,
        )

    def save(self, *names: CheckpointName, batch: int = 0) -> None:
        for name in names:
            save_pair(self.spool, name, batch=batch)
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

    def stored(self, name: CheckpointName, size: int, copied: int, seconds: float) -> None:
        assert self.store.get(key(name, "json"))
        self._hear("stored", name)

    def cannot_copy(self, why: str) -> None:
        self._hear("cannot copy", why)

    def lost(self, name: CheckpointName, error: str) -> None:
        self._hear("lost", name)

    def skipped(self, name: CheckpointName) -> None:
        self._hear("skipped", name)

    def left_behind(self, name: CheckpointName) -> None:
        self._hear("left", name)

    def failing(self, error: str, retry_in: float) -> None:
        self._hear("failing", error)

    def finalized(self, refusal: str) -> None:
        self._hear("finalized", refusal or None)

    def _finish(self, complete: bool) -> None:
        if self.store.outage is not None:
            raise self.store.outage
        if self.fenced:
            raise Fenced("another machine")
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
    wait_for_the_end_of_uploading()


def wait_for_the_end_of_uploading() -> None:
    for thread in threading.enumerate():
        if thread.name == "upload":
            thread.join(timeout=30)
            assert not thread.is_alive()


# --- one pair ------------------------------------------------------------------------------------------------------


def test_the_data_is_written_before_the_manifest(memory: MemoryStore, spool: Spool) -> None:
    manifest = save_pair(spool, name_of(1))
    assert store_pair(memory, spool, name_of(1)) == manifest
    assert sorted(memory.writes[:2]) == [key(name_of(1), part) for part in PARTS]
    assert memory.writes[2:] == [key(name_of(1), "json")]
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


def test_a_conflict_over_a_manifest_that_is_not_there_is_no_success(
    memory: MemoryStore, store: FlakyStore, spool: Spool
) -> None:
    save_pair(spool, name_of(1))
    store.fail("create", Conflict("another write was under way"))
    with pytest.raises(Transient):
        store_pair(store, spool, name_of(1))
    assert manifests(memory) == []


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("content", [None, b"cut"], ids=["missing", "cut"])
def test_a_pair_whose_data_is_not_what_its_manifest_says_is_not_stored(
    memory: MemoryStore, spool: Spool, part: str, content: bytes | None
) -> None:
    save_pair(spool, name_of(1))
    path = spool.file(name_of(1).file(part))
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises((InvalidPair, SourceError)):
        store_pair(memory, spool, name_of(1))
    assert memory.writes == []


def test_a_new_pair_waits_for_two_answers(memory: MemoryStore, spool: Spool) -> None:
    save_pair(spool, name_of(1))
    with Rounds(memory) as rounds:
        store_pair(rounds, spool, name_of(1), new=True)
    assert rounds.count == 2, rounds.asked


def test_of_a_pair_that_cannot_be_new_it_is_asked_first_whether_it_is_there(
    memory: MemoryStore, store: FlakyStore, spool: Spool
) -> None:
    """Tried before, or by an earlier start, it may have arrived without an answer."""
    asked: list[str] = []
    store.before = lambda operation, key: asked.append(f"{operation} {key.rpartition('/')[2]}")
    uploading = Uploading(store, spool, incarnation=2)
    store.fail("create", Transient("no answer"), after=True)
    for name in (name_of(1, incarnation=1), name_of(2, incarnation=2)):
        uploading.save(name)
    uploading.uploader.start()
    uploading.until_heard("stored", 2)
    end(uploading)
    older, newer = (name.file("json") for name in (name_of(1, incarnation=1), name_of(2, incarnation=2)))
    assert [one for one in asked if one.endswith(newer)][:3] == [f"create {newer}", f"get {newer}", f"get {newer}"]
    assert next(one for one in asked if one.endswith(older)) == f"get {older}"


# --- the uploader --------------------------------------------------------------------------------------------------


def test_what_is_saved_is_stored_and_reported(memory: MemoryStore, uploading: Uploading) -> None:
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.until_heard("stored")
    uploading.save(name_of(2))
    uploading.until_heard("stored", 2)
    assert uploading.heard == [("stored", name_of(1)), ("stored", name_of(2))]
    assert manifests(memory) == [key(name_of(1), "json"), key(name_of(2), "json")]
    assert uploading.uploader.settled == {name_of(1), name_of(2)}


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
    assert name_of(1) in uploading.uploader.settled


@pytest.mark.parametrize("part", ["h5", "pkl", "json"])
def test_a_pair_that_is_no_longer_on_this_machine_is_reported_lost_and_holds_up_no_other(
    uploading: Uploading, part: str
) -> None:
    uploading.save(name_of(1), name_of(2))
    uploading.spool.file(name_of(2).file(part)).unlink()
    uploading.uploader.start()
    uploading.conclude()
    assert uploading.heard == [("lost", name_of(2)), ("stored", name_of(1)), ("finalized", None)]


@pytest.mark.parametrize("part", PARTS)
def test_a_pair_whose_file_cannot_be_read_is_reported_lost_and_holds_up_no_other(
    uploading: Uploading, part: str
) -> None:
    """As its disk is broken, say; here, a folder is in its place."""
    uploading.save(name_of(1), name_of(2), name_of(3))
    manifest, path = uploading.spool.manifest(name_of(3)), uploading.spool.file(name_of(3).file(part))
    path.unlink()
    path.mkdir()
    files = {**manifest.files, part: replace(manifest.files[part], size=path.stat().st_size)}
    uploading.spool.commit(replace(manifest, files=files), durable=False)
    uploading.uploader.start()
    uploading.conclude()
    assert uploading.heard == [
        ("lost", name_of(3)),
        ("stored", name_of(2)),
        ("stored", name_of(1)),
        ("finalized", None),
    ]


def test_a_pair_that_this_machine_cannot_open_for_a_while_is_not_lost(spool: Spool, memory: MemoryStore) -> None:
    """As other processes have all its open files: that says nothing about the pair."""
    save_pair(spool, name_of(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(Transient, match="Too many open files"):
            store_pair(memory, spool, name_of(1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    store_pair(memory, spool, name_of(1))
    assert len(manifests(memory)) == 1


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


def test_an_end_that_the_store_refuses_for_good_is_told_at_once_and_not_tried_again(
    store: FlakyStore, uploading: Uploading
) -> None:
    """Nobody may come to set it right, and the machine costs meanwhile."""
    store.outage = Permanent("no rights")
    uploading.uploader.start()
    uploading.uploader.finalize(True)
    uploading.until_heard("finalized")
    assert uploading.heard == [("finalized", "no rights")]


def test_pairs_that_the_store_refuses_are_tried_until_it_takes_them(store: FlakyStore, uploading: Uploading) -> None:
    store.outage = Permanent("no rights")
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.uploader.finalize(True)
    uploading.until_heard("failing", 3)
    assert uploading.of("finalized") == []
    store.outage = None
    uploading.until_heard("finalized")
    assert uploading.of("stored") == [name_of(1)]
    assert uploading.finished == [True]


def test_a_run_that_another_machine_has_by_now_is_not_finished_and_nothing_more_is_done(uploading: Uploading) -> None:
    uploading.fenced = True
    uploading.uploader.finalize(True)
    uploading.uploader.start()
    wait_for_the_end_of_uploading()
    assert uploading.heard == []


@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_task_that_finds_the_run_to_be_anothers_is_the_last_that_is_done(
    store: FlakyStore, spool: Spool, at_the_end: bool
) -> None:
    """The lease has told of it; the store is not to be blamed."""

    class Replaced:
        vital = True
        jobs = 0

        def job(self, now: float, closing: Closing | None) -> Job | None:
            return self.run if closing or not at_the_end else None

        def run(self) -> None:
            self.jobs += 1
            raise Fenced("another machine")

        def prepare(self, manifest: Manifest) -> None:
            pass

        def stored(self, manifest: Manifest) -> None:
            pass

    task = Replaced()
    uploading = Uploading(store, spool, task)
    if at_the_end:
        uploading.uploader.finalize(True)
    uploading.uploader.start()
    wait_for_the_end_of_uploading()
    uploading.save(name_of(1))
    assert (task.jobs, uploading.heard, uploading.finished) == (1, [], [])


def test_this_machine_keeps_the_last_two_pairs(memory: MemoryStore, uploading: Uploading) -> None:
    uploading.uploader.start()
    for save in range(1, 6):
        uploading.save(name_of(save))
        uploading.until_heard("stored", save)
    uploading.conclude()
    assert uploading.spool.pairs() == [name_of(5), name_of(4)]
    assert not uploading.spool.file(name_of(3).file("h5")).exists()
    assert len(manifests(memory)) == 5


def kept_for_the_next(spool: Spool) -> list[str]:
    return [path.read_bytes().decode().strip() for path in spool.path.glob(f"{TEMPORARY}*.h5")]


def test_of_stored_pairs_that_go_the_last_ones_file_is_kept_for_the_next_to_the_end(uploading: Uploading) -> None:
    uploading.uploader.start()
    for save in range(1, 5):
        save_pair(uploading.spool, name_of(save), size=2 * PART)
        uploading.uploader.add(name_of(save))
        uploading.until_heard("stored", save)
    uploading.conclude()
    assert kept_for_the_next(uploading.spool) == [content_of(name_of(2), "h5").decode()]
    assert uploading.spool.pairs() == [name_of(4), name_of(3)]
    uploading.uploader.close()
    assert kept_for_the_next(uploading.spool) == []


def test_no_file_of_a_pair_that_could_not_be_stored_is_kept_for_the_next(uploading: Uploading) -> None:
    """It may be damaged, and so would be all that are written over it."""
    save_pair(uploading.spool, name_of(1), size=2 * PART)
    uploading.spool.file(name_of(1).file("h5")).write_bytes(bytes(2 * PART))
    uploading.uploader.add(name_of(1))
    uploading.uploader.start()
    uploading.until_heard("lost")
    for save in (2, 3):
        save_pair(uploading.spool, name_of(save))
        uploading.uploader.add(name_of(save))
        uploading.until_heard("stored", save - 1)
    uploading.conclude()
    assert uploading.spool.pairs() == [name_of(3), name_of(2)]
    assert kept_for_the_next(uploading.spool) == []


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


def test_pairs_of_which_nobody_has_told_yet_are_kept(uploading: Uploading) -> None:
    for save in range(1, 6):
        save_pair(uploading.spool, name_of(save))
    uploading.uploader.add(name_of(5))
    uploading.uploader.start()
    uploading.conclude()
    assert uploading.of("stored") == [name_of(5)]
    assert uploading.spool.pairs() == [name_of(save) for save in range(5, 0, -1)]


def test_what_the_store_has_or_need_not_get_goes_though_this_uploader_did_not_store_it(
    store: FlakyStore, spool: Spool
) -> None:
    uploading = Uploading(store, spool, spare=[name_of(1)])
    for save in (1, 2):
        save_pair(spool, name_of(save))
    spool.mark_stored(name_of(2))
    uploading.uploader.start()
    uploading.save(name_of(3), name_of(4))
    uploading.conclude()
    assert spool.pairs() == [name_of(4), name_of(3)]


# --- what is worth an upload ---------------------------------------------------------------------------------------


def test_of_pairs_that_only_serve_to_go_on_from_the_newest_alone_is_stored(
    memory: MemoryStore, store: FlakyStore, uploading: Uploading
) -> None:
    uploading.save(name_of(1))
    uploading.save(name_of(2), name_of(3), batch=7)
    uploading.save(name_of(4))
    uploading.save(name_of(5), batch=7)
    assert uploading.heard == [("skipped", name_of(2)), ("skipped", name_of(3))]
    uploading.uploader.start()
    uploading.conclude()
    assert uploading.of("stored") == [name_of(5), name_of(4), name_of(1)]
    assert {name_of(2), name_of(3)} <= uploading.uploader.settled


def test_a_pair_under_way_is_not_skipped_for_a_newer_one(store: FlakyStore, uploading: Uploading) -> None:
    def save_another(operation: str, key: str) -> None:
        store.before = lambda operation, key: None
        uploading.save(name_of(2), batch=7)

    store.before = save_another
    uploading.save(name_of(1), batch=7)
    uploading.uploader.start()
    uploading.conclude()
    assert uploading.of("stored") == [name_of(1), name_of(2)]
    assert uploading.of("skipped") == []


def test_what_is_stored_is_marked_so_that_a_full_disk_may_cost_it(store: FlakyStore, uploading: Uploading) -> None:
    store.outage = Transient("away")
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.until_heard("failing")
    assert uploading.spool.stored() == []
    store.outage = None
    uploading.conclude()
    assert uploading.spool.stored() == [name_of(1)]


# --- a deadline ----------------------------------------------------------------------------------------------------


def test_before_a_deadline_what_cannot_make_it_is_left_behind(store: FlakyStore, uploading: Uploading) -> None:
    """One pair takes 10 s, and 15 s are left: the newest and nothing else."""
    store.before = lambda operation, key: uploading.clock.advance(5) if operation == "put" else None
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.until_heard("stored")
    uploading.uploader.hurry(uploading.clock() + 15)
    store.outage = Transient("away")
    uploading.save(name_of(2), name_of(3))
    store.outage = None
    uploading.conclude()
    assert [what for what in uploading.heard if what[0] != "failing"] == [
        ("stored", name_of(1)),
        ("stored", name_of(3)),
        ("left", name_of(2)),
        ("finalized", None),
    ]


def test_before_a_deadline_the_newest_is_tried_even_if_it_seems_too_late(
    store: FlakyStore, uploading: Uploading
) -> None:
    store.before = lambda operation, key: uploading.clock.advance(5) if operation == "put" else None
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.until_heard("stored")
    uploading.uploader.hurry(uploading.clock() + 1)
    uploading.save(name_of(2))
    uploading.conclude()
    assert uploading.of("stored") == [name_of(1), name_of(2)]


@pytest.mark.parametrize(("left", "first"), [(60.0, 1), (2.4, 2)], ids=["time for both", "time for one"])
def test_an_older_upload_gives_way_to_the_newest_only_if_both_cannot_make_it(
    store: FlakyStore, uploading: Uploading, left: float, first: int
) -> None:
    store.before = lambda operation, key: uploading.clock.advance(1) if operation == "put" else None
    uploading.uploader.start()
    uploading.save(name_of(0))
    uploading.until_heard("stored")

    def drain(operation: str, key: str) -> None:
        if operation == "put" and key.endswith("h5"):
            store.before = lambda operation, key: None
            uploading.save(name_of(2))
            uploading.uploader.hurry(uploading.clock() + left)
            uploading.clock.advance(0.5)

    store.before = drain
    uploading.save(name_of(1))
    uploading.until_heard("stored", 2)
    assert uploading.of("stored")[1] == name_of(first)


def test_a_drop_gives_up_the_upload_under_way(memory: MemoryStore, store: FlakyStore, uploading: Uploading) -> None:
    store.before = lambda operation, key: uploading.uploader.drop() if operation == "put" else None
    uploading.uploader.start()
    uploading.save(name_of(1))
    end(uploading)
    assert memory.writes == []
    assert uploading.heard == []


# --- damage --------------------------------------------------------------------------------------------------------


def test_a_pair_that_rotted_on_this_disk_is_reported_lost(memory: MemoryStore, uploading: Uploading) -> None:
    save_pair(uploading.spool, name_of(1))
    path = uploading.spool.file(name_of(1).file("h5"))
    path.write_bytes(bytes(reversed(path.read_bytes())))
    uploading.uploader.start()
    uploading.uploader.add(name_of(1))
    uploading.until_heard("lost")
    assert manifests(memory) == []


def test_a_pair_that_was_damaged_on_its_way_is_sent_again(store: FlakyStore, uploading: Uploading) -> None:
    store.fail("put", Corrupted("BadDigest"), suffix=".h5")
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.until_heard("stored")
    assert [kind for kind, _ in uploading.heard] == ["failing", "stored"]


# --- tasks -------------------------------------------------------------------------------------------------------


class Counting:
    """a task that is always due, and fails as often as it is told to."""

    def __init__(self, failures: int = 0, vital: bool = True) -> None:
        self.vital = vital
        self.failures = failures
        self.runs = 0
        self.seen: list[CheckpointName] = []
        self.ran = threading.Event()

    def job(self, now: float, closing: Closing | None) -> Callable[[], None] | None:
        return None if self.runs >= 5 else self._run

    def prepare(self, manifest: Manifest) -> None:
        pass

    def stored(self, manifest: Manifest) -> None:
        self.seen.append(manifest.name)

    def _run(self) -> None:
        self.runs += 1
        self.ran.set()
        if self.runs <= self.failures:
            raise Permanent("no rights")


class Preparing(Counting):
    """What it prepares may take long: it gives way to what the uploader is ``pressed`` for."""

    def __init__(self, defects: int = 0) -> None:
        super().__init__()
        self.defects = defects
        self.prepared: list[tuple[CheckpointName, int]] = []
        self.pressed: Callable[[], bool] = lambda: False
        self.began, self.go_on = threading.Event(), threading.Event()
        self.gave_way = False

    def prepare(self, manifest: Manifest) -> None:
        self.prepared.append((manifest.name, len(self.seen)))
        self.began.set()
        assert self.go_on.wait(30)
        self.gave_way = self.pressed()
        if self.defects:
            self.defects -= 1
            raise ZeroDivisionError


def test_what_a_pair_depends_on_comes_before_it_and_does_not_give_way_to_it(store: FlakyStore, spool: Spool) -> None:
    task = Preparing()
    uploading = Uploading(store, spool, task)
    task.pressed = lambda: uploading.uploader.gives_way
    task.go_on.set()
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.until_heard("stored")
    assert task.prepared == [(name_of(1), 0)]
    assert not task.gave_way
    end(uploading)


def test_a_deadline_that_comes_meanwhile_puts_the_pair_first(store: FlakyStore, spool: Spool) -> None:
    task = Preparing()
    uploading = Uploading(store, spool, task)
    task.pressed = lambda: uploading.uploader.gives_way
    uploading.uploader.start()
    uploading.save(name_of(1))
    assert task.began.wait(30)
    uploading.uploader.hurry(uploading.clock() + 60)
    uploading.save(name_of(2))
    task.go_on.set()
    uploading.until_heard("stored", times=2)
    assert task.gave_way
    assert task.prepared == [(name_of(1), 0)], "nothing is prepared any more"
    end(uploading)


def test_a_defect_in_what_comes_before_a_pair_costs_no_pair(store: FlakyStore, spool: Spool) -> None:
    task = Preparing(defects=1)
    task.go_on.set()
    uploading = Uploading(store, spool, task)
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.until_heard("stored")
    assert [kind for kind, _ in uploading.heard] == ["failing", "stored"]
    end(uploading)


def test_tasks_are_run_between_pairs_and_receive_what_is_stored(store: FlakyStore, spool: Spool) -> None:
    task = Counting()
    uploading = Uploading(store, spool, task)
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.conclude()
    assert task.runs == 5
    assert task.seen == [name_of(1)]


def test_a_task_that_fails_holds_up_no_pair_and_no_other_task(store: FlakyStore, spool: Spool) -> None:
    failing, other = Counting(failures=5), Counting()
    uploading = Uploading(store, spool, failing, other)
    uploading.uploader.start()
    assert failing.ran.wait(30)
    uploading.save(name_of(1))
    uploading.until_heard("stored")
    assert other.ran.wait(30)
    uploading.conclude()
    assert "no rights" in uploading.of("failing")


class Defective(Counting):
    """Raises what no task should, once where it looks and once where it works."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def job(self, now: float, closing: Closing | None) -> Callable[[], None] | None:
        self.looks += 1
        if self.looks == 1:
            raise ValueError("while looking")
        return super().job(now, closing)

    def _run(self) -> None:
        super()._run()
        if self.runs == 1:
            raise ValueError("while working")


def test_a_defect_is_reported_and_tried_again_and_ends_nothing(store: FlakyStore, spool: Spool) -> None:
    task = Defective()
    uploading = Uploading(store, spool, task)
    uploading.uploader.start()
    uploading.until_heard("failing", 2)
    uploading.save(name_of(1))
    uploading.conclude()
    assert uploading.of("failing") == ["ValueError('while looking')", "ValueError('while working')"]
    assert uploading.of("stored") == [name_of(1)]
    assert task.runs == 5


def test_a_defect_while_a_pair_is_stored_is_reported_and_the_pair_tried_again(
    store: FlakyStore, uploading: Uploading
) -> None:
    def stumble(operation: str, key: str) -> None:
        store.before = lambda operation, key: None
        raise ValueError("a defect")

    store.before = stumble
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.conclude()
    assert uploading.heard == [("failing", "ValueError('a defect')"), ("stored", name_of(1)), ("finalized", None)]


def test_while_a_deadline_stands_tasks_wait_and_only_the_vital_ones_are_done(store: FlakyStore, spool: Spool) -> None:
    task, other = Counting(), Counting(vital=False)
    uploading = Uploading(store, spool, task, other)
    uploading.uploader.hurry(uploading.clock() + 100)
    uploading.uploader.start()
    uploading.save(name_of(1))
    uploading.until_heard("stored")
    uploading.save(name_of(2))
    uploading.until_heard("stored", 2)
    assert task.runs == other.runs == 0
    uploading.conclude()
    assert (task.runs, other.runs) == (5, 0)

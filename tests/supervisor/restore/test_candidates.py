from __future__ import annotations

from pathlib import Path

import pytest

from fakes.pairs import content_of, name_of, save_pair, store_only, stored_objects
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import Corrupted, NoValidPair, StoreError, Transient
from holdfast.core.manifest import PARTS, Manifest
from holdfast.core.runs import RunId
from holdfast.spool import Spool
from holdfast.store import Store
from holdfast.store.catalog import list_pairs
from holdfast.supervisor.restore.candidates import bring_newest, candidates, newest_here, owed
from holdfast.supervisor.upload.store_pair import store_pair

RUN = "00001-digits"
DIGITS = RunId(1, "digits")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / RUN)


class Restoring:
    """What came of a restore: the pair, and what was warned of."""

    def __init__(self, store: Store, spool: Spool) -> None:
        self.warnings: list[str] = []
        self.manifest: Manifest | None = bring_newest(store, spool, candidates(store, spool), self.warnings.append)
        self.name: CheckpointName | None = self.manifest.name if self.manifest else None


def is_whole(spool: Spool, name: CheckpointName) -> bool:
    spool.verify(spool.manifest(name))
    return all(spool.file(name.file(part)).read_bytes() == content_of(name, part) for part in PARTS)


# --- the newest valid pair -----------------------------------------------------------------------------------------


def test_a_run_without_pairs_starts_from_the_beginning(store: MemoryStore, spool: Spool) -> None:
    restored = Restoring(store, spool)
    assert restored.manifest is None
    assert restored.warnings == []


def test_the_newest_pair_is_brought_whole_to_this_machine(store: MemoryStore, spool: Spool) -> None:
    manifests = [store_only(store, spool, name_of(save)) for save in (1, 2, 3)]
    restored = Restoring(store, spool)
    assert restored.manifest == manifests[2]
    assert restored.warnings == []
    assert spool.pairs() == [name_of(3)]
    assert is_whole(spool, name_of(3))


def test_newest_is_the_latest_incarnation_and_then_the_latest_save(store: MemoryStore, spool: Spool) -> None:
    for name in (name_of(12, incarnation=1), name_of(10, incarnation=2), name_of(9, incarnation=2)):
        store_only(store, spool, name)
    assert Restoring(store, spool).name == name_of(10, incarnation=2)


def test_a_late_manifest_of_a_replaced_machine_is_not_picked(store: MemoryStore, spool: Spool) -> None:
    store_only(store, spool, name_of(3, incarnation=2))
    store_only(store, spool, name_of(99, incarnation=1))
    assert Restoring(store, spool).name == name_of(3, incarnation=2)


@pytest.mark.parametrize("part", ["h5", "pkl", "json"])
@pytest.mark.parametrize("damage", [b"", b"the wrong bytes", None], ids=["emptied", "overwritten", "missing"])
def test_a_damaged_pair_is_reported_passed_over_and_not_deleted(
    store: MemoryStore, spool: Spool, part: str, damage: bytes | None
) -> None:
    for save in (1, 2):
        store_only(store, spool, name_of(save))
    found = candidates(store, spool)
    key = f"{RUN}/{name_of(2).file(part)}"
    if damage is None:
        store.delete(key)
    else:
        store.objects[key] = damage
    before = dict(store.objects)

    warnings: list[str] = []
    manifest = bring_newest(store, spool, found, warnings.append)

    assert manifest is not None
    assert manifest.name == name_of(1)
    [warning] = warnings
    assert warning.count(str(name_of(2))) == 1, "named once"
    assert store.objects == before
    assert spool.pairs() == [name_of(1)]


@pytest.mark.parametrize("part", PARTS)
def test_a_file_that_became_huge_after_it_was_listed_is_not_taken_in(
    store: MemoryStore, spool: Spool, part: str
) -> None:
    for save in (1, 2):
        store_only(store, spool, name_of(save))
    flaky, key = FlakyStore(store), f"{RUN}/{name_of(2).file(part)}"

    def swap(operation: str, at: str) -> None:
        if operation == "fetch" and at == key:
            store.objects[key] = bytes(1 << 20)

    flaky.before = swap
    restored = Restoring(flaky, spool)
    assert restored.name == name_of(1)
    [warning] = restored.warnings
    assert f"its .{part} has more bytes than" in warning


def test_what_a_pair_lacks_here_is_fetched_and_no_more(store: MemoryStore, spool: Spool) -> None:
    save_pair(spool, name_of(1))
    store_pair(store, spool, name_of(1))
    spool.file(name_of(1).file("pkl")).write_bytes(b"rot")
    store.reads.clear()
    assert Restoring(store, spool).name == name_of(1)
    assert store.reads == [f"{RUN}/{name_of(1).file(part)}" for part in ("json", "pkl")]


def test_one_flipped_bit_is_noticed(store: MemoryStore, spool: Spool) -> None:
    for save in (1, 2):
        store_only(store, spool, name_of(save))
    key = f"{RUN}/{name_of(2).file('h5')}"
    store.objects[key] = bytes([store.objects[key][0] ^ 1]) + store.objects[key][1:]
    restored = Restoring(store, spool)
    assert restored.name == name_of(1)
    assert "checksum" in restored.warnings[0]


def test_a_pair_of_another_run_is_passed_over(store: MemoryStore, spool: Spool) -> None:
    store_only(store, spool, name_of(1))
    save_pair(spool, name_of(2), run="00007-other")
    store_pair(store, spool, name_of(2))
    spool.remove(name_of(2))
    restored = Restoring(store, spool)
    assert restored.name == name_of(1)
    assert "00007-other" in restored.warnings[0]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_pair_whose_loss_is_not_finite_is_passed_over(store: MemoryStore, spool: Spool, loss: float) -> None:
    store_only(store, spool, name_of(1))
    store_only(store, spool, name_of(2, loss=loss))
    restored = Restoring(store, spool)
    assert restored.name == name_of(1)
    assert "not finite" in restored.warnings[0]


def test_a_pair_without_a_known_loss_is_as_good_as_any(store: MemoryStore, spool: Spool) -> None:
    store_only(store, spool, name_of(1, loss=None))
    assert Restoring(store, spool).name == name_of(1, loss=None)


def test_where_no_pair_is_valid_nothing_starts_over_silently(store: MemoryStore, spool: Spool) -> None:
    store_only(store, spool, name_of(1, loss=float("nan")))
    store_only(store, spool, name_of(2))
    store.objects[f"{RUN}/{name_of(2).file('pkl')}"] = b"rot"
    with pytest.raises(NoValidPair, match=r"2 checkpoints and none is valid"):
        Restoring(store, spool)
    assert len(store.objects) == 6


def test_data_without_a_manifest_is_no_pair(store: MemoryStore, spool: Spool) -> None:
    store_only(store, spool, name_of(1))
    store.delete(f"{RUN}/{name_of(1).file('json')}")
    assert Restoring(store, spool).manifest is None


def test_what_is_no_checkpoint_is_not_taken_for_one(store: MemoryStore, spool: Spool) -> None:
    store_only(store, spool, name_of(1))
    store.create(f"{RUN}/model-best.json", b"{}")
    store.create(f"{RUN}/model-0009-00000090-0.5000-i1-q9.json.bak", b"{}")
    store.create(f"{RUN}/artifacts/{name_of(8).file('json')}", b"{}")
    assert list_pairs(store, RUN) == [name_of(1)]


def test_a_failing_store_is_not_taken_for_a_damaged_pair(store: MemoryStore, spool: Spool) -> None:
    for save in (1, 2):
        store_only(store, spool, name_of(save))
    for operation, suffix in (("get", ".json"), ("fetch", ".h5"), ("fetch", ".pkl"), ("list", "")):
        with pytest.raises(Transient):
            Restoring(FlakyStore(store).fail(operation, Transient("away"), suffix=suffix), spool)
    assert spool.pairs() == []


def test_few_manifests_are_read_however_many_checkpoints_there_are(store: MemoryStore, spool: Spool) -> None:
    like = store_only(store, spool, name_of(1))
    for save in range(2, 10_001):
        store.objects.update(stored_objects(RUN, name_of(save), like))
    for save in (10_000, 9_999):
        store.objects[f"{RUN}/{name_of(save).file('json')}"] = b"rot"
    store.reads.clear()

    assert Restoring(store, spool).name == name_of(9_998)

    assert sum(key.endswith(".json") for key in store.reads) == 3
    assert len(store.reads) == 5


# --- pairs on this machine -----------------------------------------------------------------------------------------


def test_a_pair_that_is_here_already_is_not_fetched(store: MemoryStore, spool: Spool) -> None:
    save_pair(spool, name_of(1))
    store_pair(store, spool, name_of(1))
    store.reads.clear()
    assert Restoring(store, spool).name == name_of(1)
    assert store.reads == []


def test_a_pair_that_was_never_stored_competes_and_is_owed(store: MemoryStore, spool: Spool) -> None:
    store_only(store, spool, name_of(1))
    for save in (2, 3):
        save_pair(spool, name_of(save))
    assert Restoring(store, spool).name == name_of(3)
    assert owed(spool, candidates(store, spool)) == [name_of(3), name_of(2)]


def test_an_older_pair_on_this_machine_is_neither_picked_nor_owed(store: MemoryStore, spool: Spool) -> None:
    save_pair(spool, name_of(5, incarnation=1))
    store_only(store, spool, name_of(2, incarnation=2))
    assert Restoring(store, spool).name == name_of(2, incarnation=2)
    assert owed(spool, candidates(store, spool)) == []


def test_an_epochs_pair_that_the_store_never_got_is_owed_though_it_has_newer_ones(
    store: MemoryStore, spool: Spool
) -> None:
    save_pair(spool, name_of(1))
    save_pair(spool, name_of(2), batch=7)
    save_pair(spool, name_of(3))
    store_pair(store, spool, name_of(3))
    assert owed(spool, candidates(store, spool)) == [name_of(1)]
    spool.mark_stored(name_of(1))
    assert owed(spool, candidates(store, spool)) == []


def test_a_mark_that_the_newest_pair_was_stored_is_not_believed_of_a_store_that_lacks_it(
    store: MemoryStore, spool: Spool
) -> None:
    """Retention never removes the newest: somebody else did, or the mark is about another store."""
    for name in (name_of(1), name_of(2), name_of(3, loss=None), name_of(4, loss=float("nan"))):
        save_pair(spool, name)
        spool.mark_stored(name)
    assert owed(spool, candidates(store, spool)) == [name_of(3, loss=None), name_of(2), name_of(1)]
    store_pair(store, spool, name_of(2))
    assert owed(spool, candidates(store, spool)) == [name_of(3, loss=None)]


def test_the_pair_to_resume_from_is_owed_though_the_store_has_a_newer_one_whose_loss_is_not_finite(
    store: MemoryStore, spool: Spool
) -> None:
    store_only(store, spool, name_of(1))
    save_pair(spool, name_of(2), batch=7)
    store_only(store, spool, name_of(3, loss=float("nan")))
    assert Restoring(store, spool).name == name_of(2)
    assert owed(spool, candidates(store, spool)) == [name_of(2)]


def test_an_epochs_pair_that_another_machine_stored_meanwhile_is_not_owed(store: MemoryStore, spool: Spool) -> None:
    save_pair(spool, name_of(2))
    for save in (2, 3):
        store_only(store, spool, name_of(save, incarnation=2))
    assert owed(spool, candidates(store, spool)) == []


def test_a_damaged_pair_is_not_owed(store: MemoryStore, spool: Spool) -> None:
    save_pair(spool, name_of(1))
    spool.file(name_of(1).file("h5")).write_bytes(b"rot")
    assert owed(spool, candidates(store, spool)) == []


def test_a_pair_to_avoid_is_passed_over_here_and_in_the_store(store: MemoryStore, spool: Spool) -> None:
    for save in (1, 2, 3):
        save_pair(spool, name_of(save))
    store_pair(store, spool, name_of(1))
    avoid = {str(name_of(3)), str(name_of(2))}
    resume = bring_newest(store, spool, candidates(store, spool), lambda text: None, avoid)
    assert resume is not None
    assert resume.name == name_of(1)
    assert newest_here(spool, resume, 4, avoid) == (resume, 4)
    assert newest_here(spool, resume, 4, {str(name_of(3))})[0] == spool.manifest(name_of(2))


@pytest.mark.parametrize("part", ["h5", "pkl", "json"])
def test_a_pair_that_is_damaged_here_is_fetched_from_the_store(store: MemoryStore, spool: Spool, part: str) -> None:
    for save in (1, 2):
        save_pair(spool, name_of(save))
        store_pair(store, spool, name_of(save))
    spool.file(name_of(2).file(part)).write_bytes(b"rot")
    restored = Restoring(store, spool)
    assert restored.name == name_of(2)
    assert len(restored.warnings) == 1
    assert is_whole(spool, name_of(2))


def test_a_pair_that_is_damaged_here_and_nowhere_else_is_passed_over_and_kept(store: MemoryStore, spool: Spool) -> None:
    store_only(store, spool, name_of(1))
    save_pair(spool, name_of(2))
    spool.file(name_of(2).file("h5")).unlink()
    assert Restoring(store, spool).name == name_of(1)
    assert spool.file(name_of(2).file("pkl")).exists()


def test_incarnation_and_save_numbers_go_on_from_all_that_is_known(store: MemoryStore, spool: Spool) -> None:
    nothing = candidates(store, spool)
    assert (nothing.incarnation, nothing.next_save) == (0, 1)
    store_only(store, spool, name_of(20, incarnation=3))
    save_pair(spool, name_of(4, incarnation=5))
    found = candidates(store, spool)
    assert (found.incarnation, found.next_save) == (5, 21)


class BadLine(FlakyStore):
    """Damages so many downloads on their way; what is in the store is whole."""

    def __init__(self, store: Store, times: int, error: StoreError | None = None) -> None:
        super().__init__(store)
        self.times = times
        self.error = error

    def fetch(self, key: str, path: Path, most: int | None = None) -> None:
        super().fetch(key, path, most)
        if self.times:
            self.times -= 1
            path.write_bytes(b"damaged on its way")
            if self.error is not None:
                raise self.error


@pytest.mark.parametrize("error", [None, Corrupted("the checksum differs")])
def test_a_pair_that_was_damaged_on_its_way_is_fetched_again(
    store: MemoryStore, spool: Spool, error: StoreError | None
) -> None:
    for save in (1, 2):
        store_only(store, spool, name_of(save))
    line, said = BadLine(store, 1, error), list[str]()
    found = bring_newest(line, spool, candidates(line, spool), said.append)
    assert found is not None
    assert found.name == name_of(2)
    assert said == []


@pytest.mark.parametrize("error", [None, Corrupted("the checksum differs")])
def test_a_pair_that_never_arrives_whole_is_passed_over(
    store: MemoryStore, spool: Spool, error: StoreError | None
) -> None:
    for save in (1, 2):
        store_only(store, spool, name_of(save))
    line, said = BadLine(store, 2, error), list[str]()
    found = bring_newest(line, spool, candidates(line, spool), said.append)
    assert found is not None
    assert found.name == name_of(1)
    assert len(said) == 1

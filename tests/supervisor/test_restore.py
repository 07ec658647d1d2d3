from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.pairs import content_of, name_of, save_pair, store_only, stored_objects
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import NoValidPair, SettingsError, Transient
from holdfast.core.manifest import PARTS, CheckpointName, Manifest
from holdfast.core.runs import RunId
from holdfast.spool import Spool
from holdfast.store import Store
from holdfast.supervisor.restore import (
    COMPLETE_FILE,
    allot,
    bring_newest,
    candidates,
    find_run,
    is_complete,
    list_pairs,
    list_runs,
    read_manifest,
)
from holdfast.supervisor.upload import store_pair

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
    assert str(name_of(2)) in warning
    assert store.objects == before
    assert spool.pairs() == [name_of(1)]


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
    with pytest.raises(NoValidPair, match=r"2 checkpoints and none of them is valid"):
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
    assert candidates(store, spool).owed == [name_of(3), name_of(2)]


def test_an_older_pair_on_this_machine_is_neither_picked_nor_owed(store: MemoryStore, spool: Spool) -> None:
    save_pair(spool, name_of(5, incarnation=1))
    store_only(store, spool, name_of(2, incarnation=2))
    assert Restoring(store, spool).name == name_of(2, incarnation=2)
    assert candidates(store, spool).owed == []


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


def test_a_stored_manifest_reads_as_it_was_written(store: MemoryStore, spool: Spool) -> None:
    manifest = store_only(store, spool, name_of(1))
    assert read_manifest(store, RUN, name_of(1)) == manifest


# --- which run -----------------------------------------------------------------------------------------------------


def test_the_first_start_of_a_name_makes_its_run(store: MemoryStore) -> None:
    assert find_run(store, "digits", extend=False) == (DIGITS, False)
    assert json.loads(store.objects[f"{RUN}/run.json"])["run"] == RUN


def test_a_later_start_goes_on_with_the_newest_run_of_that_name(store: MemoryStore) -> None:
    for run in (DIGITS, RunId(2, "other"), RunId(3, "digits"), RunId(4, "digits-2")):
        store.create(f"{run}/run.json", b"{}")
    assert find_run(store, "digits", extend=False) == (RunId(3, "digits"), False)
    assert len(store.writes) == 4


def test_run_numbers_go_on_over_all_names(store: MemoryStore) -> None:
    store.create("00041-other/run.json", b"{}")
    assert find_run(store, "digits", extend=False)[0] == RunId(42, "digits")


def test_what_is_no_run_is_not_listed_as_one(store: MemoryStore) -> None:
    for key in ("00001-digits/run.json", "1-digits/run.json", "notes/x", "00002-file", "00003-a b/run.json"):
        store.create(key, b"{}")
    assert list_runs(store) == [DIGITS]


def test_a_run_can_be_given_by_its_id(store: MemoryStore) -> None:
    for run in (DIGITS, RunId(2, "digits")):
        store.create(f"{run}/run.json", b"{}")
    assert find_run(store, RUN, extend=False) == (DIGITS, False)


def test_a_run_id_that_is_not_there_is_a_settings_error(store: MemoryStore) -> None:
    with pytest.raises(SettingsError, match="--run 00009-digits: there is no such run"):
        find_run(store, "00009-digits", extend=False)
    assert store.writes == []


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", "a b", "x" * 64])
def test_a_name_that_cannot_be_is_a_settings_error(store: MemoryStore, name: str) -> None:
    with pytest.raises(SettingsError, match="--run"):
        find_run(store, name, extend=False)
    assert store.writes == []


@pytest.mark.parametrize("name", ["digits", RUN])
def test_a_complete_run_is_said_to_be_so_unless_it_is_extended(store: MemoryStore, name: str) -> None:
    allot(store, "digits", [], join=False)
    assert not is_complete(store, DIGITS)
    store.create(f"{RUN}/{COMPLETE_FILE}", b"{}")
    assert is_complete(store, DIGITS)
    assert find_run(store, name, extend=False) == (DIGITS, True)
    assert find_run(store, name, extend=True) == (DIGITS, False)


def faster_machine(store: MemoryStore) -> FlakyStore:
    """The store as seen by a machine that comes a moment too late with its first run."""
    flaky = FlakyStore(store)

    def be_faster(operation: str, key: str) -> None:
        if operation == "create" and not store.objects:
            store.create(key, b"{}")

    flaky.before = be_faster
    return flaky


def test_a_start_joins_the_run_that_another_machine_made_a_moment_before(store: MemoryStore) -> None:
    assert find_run(faster_machine(store), "digits", extend=False) == (DIGITS, False)
    assert store.writes == [f"{RUN}/run.json"]


def test_a_new_run_gets_the_next_number_where_another_machine_was_faster(store: MemoryStore) -> None:
    assert allot(faster_machine(store), "digits", [], join=False) == RunId(2, "digits")


def test_machines_that_start_together_join_one_run(store: MemoryStore) -> None:
    assert set(together(lambda: find_run(store, "digits", extend=False)[0])) == {DIGITS}
    assert store.writes == [f"{RUN}/run.json"]


def test_runs_that_are_allotted_together_get_numbers_of_their_own(store: MemoryStore) -> None:
    runs = together(lambda: allot(store, "digits", list_runs(store), join=False))
    assert sorted(run.number for run in runs) == list(range(1, 9))


def test_a_failing_store_makes_no_run(store: MemoryStore) -> None:
    flaky = FlakyStore(store).fail("create", Transient("away"))
    with pytest.raises(Transient):
        find_run(flaky, "digits", extend=False)


def together(find: Callable[[], RunId]) -> list[RunId]:
    start = threading.Barrier(8)

    def run(number: int) -> RunId:
        start.wait(timeout=30)
        return find()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(run, range(8)))

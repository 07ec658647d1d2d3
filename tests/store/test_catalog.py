from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.pairs import name_of, store_only
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import InvalidPair, SettingsError, Transient
from holdfast.core.runs import COMPLETE_FILE, RunId
from holdfast.spool import Spool
from holdfast.store.catalog import (
    FoundRun,
    allot,
    find_run,
    is_complete,
    list_pairs,
    list_runs,
    read_manifest,
    remove_pair,
)

RUN = "00001-digits"
DIGITS = RunId(1, "digits")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / RUN)


def test_a_stored_manifest_reads_as_it_was_written(store: MemoryStore, spool: Spool) -> None:
    manifest = store_only(store, spool, name_of(1))
    assert read_manifest(store, RUN, name_of(1)) == manifest


def test_a_manifest_of_absurd_size_is_an_invalid_pair(store: MemoryStore) -> None:
    store.create(f"{RUN}/{name_of(1).file('json')}", bytes(2 << 20))
    with pytest.raises(InvalidPair, match="more than"):
        read_manifest(store, RUN, name_of(1))


def test_a_pair_is_removed_manifest_first(store: MemoryStore, spool: Spool) -> None:
    store_only(store, spool, name_of(1))
    flaky = FlakyStore(store).fail("delete", Transient("gone"), suffix=".h5")

    with pytest.raises(Transient):
        remove_pair(flaky, RUN, name_of(1))
    assert list_pairs(store, RUN) == []

    remove_pair(store, RUN, name_of(1))
    assert store.list("") == []


# --- which run -----------------------------------------------------------------------------------------------------


def test_the_first_start_of_a_name_makes_its_run(store: MemoryStore) -> None:
    assert find_run(store, "digits") == FoundRun(DIGITS, store.objects[f"{RUN}/run.json"])
    assert json.loads(store.objects[f"{RUN}/run.json"])["run"] == RUN


def test_a_later_start_goes_on_with_the_newest_run_of_that_name(store: MemoryStore) -> None:
    for run in (DIGITS, RunId(2, "other"), RunId(3, "digits"), RunId(4, "digits-2")):
        store.create(f"{run}/run.json", b"{}")
    assert find_run(store, "digits") == FoundRun(RunId(3, "digits"))
    assert len(store.writes) == 4


def test_run_numbers_go_on_over_all_names(store: MemoryStore) -> None:
    store.create("00041-other/run.json", b"{}")
    assert find_run(store, "digits").run == RunId(42, "digits")


def test_what_is_no_run_is_not_listed_as_one(store: MemoryStore) -> None:
    for key in ("00001-digits/run.json", "1-digits/run.json", "notes/x", "00002-file", "00003-a b/run.json"):
        store.create(key, b"{}")
    assert list_runs(store) == [DIGITS]


def test_a_run_can_be_given_by_its_id(store: MemoryStore) -> None:
    for run in (DIGITS, RunId(2, "digits")):
        store.create(f"{run}/run.json", b"{}")
    assert find_run(store, RUN) == FoundRun(DIGITS)


def test_a_run_id_that_is_not_there_is_a_settings_error(store: MemoryStore) -> None:
    with pytest.raises(SettingsError, match="--run 00009-digits: there is no such run"):
        find_run(store, "00009-digits")
    assert store.writes == []


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", "a b", "x" * 64])
def test_a_name_that_cannot_be_is_a_settings_error(store: MemoryStore, name: str) -> None:
    with pytest.raises(SettingsError, match="--run"):
        find_run(store, name)
    assert store.writes == []


@pytest.mark.parametrize("name", ["digits", RUN])
def test_a_complete_run_is_found_too(store: MemoryStore, name: str) -> None:
    allot(store, "digits", [], join=False)
    assert not is_complete(store, DIGITS)
    store.create(f"{RUN}/{COMPLETE_FILE}", b"{}")
    assert is_complete(store, DIGITS)
    assert find_run(store, name) == FoundRun(DIGITS)


def faster_machine(store: MemoryStore) -> FlakyStore:
    """The store as seen by a machine that comes a moment too late with its first run."""
    flaky = FlakyStore(store)

    def be_faster(operation: str, key: str) -> None:
        if operation == "create" and not store.objects:
            store.create(key, b"{}")

    flaky.before = be_faster
    return flaky


def test_a_start_joins_the_run_that_another_machine_made_a_moment_before(store: MemoryStore) -> None:
    assert find_run(faster_machine(store), "digits") == FoundRun(DIGITS)
    assert store.writes == [f"{RUN}/run.json"]


def test_a_new_run_gets_the_next_number_where_another_machine_was_faster(store: MemoryStore) -> None:
    assert allot(faster_machine(store), "digits", [], join=False) == RunId(2, "digits")


def test_machines_that_start_together_join_one_run(store: MemoryStore) -> None:
    assert set(together(lambda: find_run(store, "digits").run)) == {DIGITS}
    assert store.writes == [f"{RUN}/run.json"]


def test_runs_that_are_allotted_together_get_numbers_of_their_own(store: MemoryStore) -> None:
    runs = together(lambda: allot(store, "digits", list_runs(store), join=False))
    assert sorted(run.number for run in runs) == list(range(1, 9))


def test_a_failing_store_makes_no_run(store: MemoryStore) -> None:
    flaky = FlakyStore(store).fail("create", Transient("away"))
    with pytest.raises(Transient):
        find_run(flaky, "digits")


def together(find: Callable[[], RunId]) -> list[RunId]:
    start = threading.Barrier(8)

    def run(number: int) -> RunId:
        start.wait(timeout=30)
        return find()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(run, range(8)))

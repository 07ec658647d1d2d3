from __future__ import annotations

from pathlib import Path

import pytest

from fakes.stored import Run, name_of
from fakes.stores import MemoryStore
from holdfast.core.errors import SettingsError
from holdfast.core.runs import LEASE_FILE, RunId
from holdfast.store.catalog import existing_run, is_held, newest_run, read_contents
from holdfast.store.contents import contents_of


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run(store: MemoryStore, tmp_path: Path) -> Run:
    return Run(store, tmp_path)


def test_a_listing_tells_pairs_orphans_and_the_rest_apart(run: Run) -> None:
    run.pairs(1, 2)
    run.orphan(name_of(3))
    run.file("log-i1.txt", b"hello")
    contents = run.contents()
    assert [listed.name for listed in contents.pairs] == [name_of(2), name_of(1)]
    assert [listed.name for listed in contents.orphans] == [name_of(3)]
    assert contents.others == {"log-i1.txt": 5, "run.json": 2}
    assert contents.size == sum(len(data) for data in run.store.objects.values())  # type: ignore[attr-defined]


def test_newest_first_is_by_incarnation_and_then_by_save(run: Run) -> None:
    run.pairs(9, 3)
    run.pairs(4, incarnation=2)
    assert run.names() == [name_of(4, 2), name_of(9), name_of(3)]


@pytest.mark.parametrize(("part", "missing"), [("h5", ("h5",)), ("pkl", ("pkl",))])
def test_a_pair_without_all_of_its_data_says_what_is_missing(run: Run, part: str, missing: tuple[str, ...]) -> None:
    run.pairs(1)
    run.damage(name_of(1), part, None)
    [listed] = run.contents().pairs
    assert listed.missing == missing


def test_the_size_of_a_checkpoint_is_that_of_its_data(run: Run) -> None:
    manifest = run.pair(name_of(1))
    [listed] = run.contents().pairs
    assert listed.size == manifest.size
    assert listed.whole_size == manifest.size + len(manifest.to_json())


def test_the_newest_incarnation_counts_data_without_a_manifest(run: Run) -> None:
    assert run.contents().incarnation == 0
    run.pairs(1)
    run.orphan(name_of(2, incarnation=3))
    assert run.contents().incarnation == 3


def test_a_run_is_complete_if_the_listing_says_so(run: Run) -> None:
    assert not run.contents().complete
    run.finish()
    assert run.contents().complete


def test_names_that_holdfast_would_not_write_are_nobodys_checkpoints(run: Run) -> None:
    name = name_of(1)
    for key in (f"artifacts/{name}.json", f"{name}.json.bak", f"{name}.exe", "model-1-1-0.5-i1-q1.json", f"x{name}.h5"):
        run.file(key, b"{}")
    contents = run.contents()
    assert (contents.pairs, contents.orphans) == ((), ())


def test_ten_thousand_checkpoints_are_sorted_out_without_reading_one(store: MemoryStore) -> None:
    for save in range(1, 10_001):
        for part in ("h5", "json", "pkl"):
            store.objects[f"00001-many/{name_of(save).file(part)}"] = b"x"
    contents = read_contents(store, RunId(1, "many"))
    assert len(contents.pairs) == 10_000
    assert contents.pairs[0].name == name_of(10_000)
    assert store.reads == []


def test_an_empty_run_is_known_as_one(store: MemoryStore) -> None:
    assert contents_of(RunId(7, "nothing"), []).empty


# --- which run -----------------------------------------------------------------------------------------------------


def test_a_name_means_its_newest_run_and_an_id_that_very_run(store: MemoryStore) -> None:
    for run in ("00001-digits", "00002-other", "00003-digits"):
        store.create(f"{run}/run.json", b"{}")
    assert existing_run(store, "digits") == RunId(3, "digits")
    assert existing_run(store, "00001-digits") == RunId(1, "digits")
    assert newest_run(store) == RunId(3, "digits")


@pytest.mark.parametrize("text", ["nope", "00009-digits", "../up", ""])
def test_a_run_that_is_not_there_is_said_so_with_what_is(store: MemoryStore, text: str) -> None:
    for number in range(1, 8):
        store.create(f"0000{number}-name{number}/run.json", b"{}")
    with pytest.raises(SettingsError, match=r"no run .* it has name1, name2, name3, name4, name5 …"):
        existing_run(store, text)


def test_an_empty_store_has_no_newest_run(store: MemoryStore) -> None:
    with pytest.raises(SettingsError, match="no runs in memory:"):
        newest_run(store)
    with pytest.raises(SettingsError, match="it has no runs at all"):
        existing_run(store, "digits")


# --- the lease -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "held"), [("held", True), ("released", False)])
def test_a_lease_that_was_not_released_is_held(run: Run, state: str, held: bool) -> None:
    assert not is_held(run.store, run.id)
    run.lease(state)
    assert is_held(run.store, run.id) == held


@pytest.mark.parametrize("data", [b"", b"[]", b"not JSON", b"[" * 100_000, b"\xff"])
def test_a_lease_that_cannot_be_read_is_taken_for_held(run: Run, data: bytes) -> None:
    run.file(LEASE_FILE, data)
    assert is_held(run.store, run.id)

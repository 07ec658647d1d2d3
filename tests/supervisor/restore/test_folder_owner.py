from __future__ import annotations

from pathlib import Path

import pytest

from fakes.pairs import name_of, save_pair
from fakes.stores import MemoryStore
from holdfast.core.errors import SettingsError
from holdfast.core.runs import RunId
from holdfast.spool import Spool
from holdfast.store.catalog import allot
from holdfast.supervisor.restore.folder_owner import NOTE_FILE, check_home, claim

DIGITS = RunId(1, "digits")


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    allot(store, "digits", [], join=False)
    return store


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / str(DIGITS))


def other() -> MemoryStore:
    store = MemoryStore()
    store.uri = "other:"
    allot(store, "digits", [], join=False)
    return store


def test_a_folder_without_pairs_becomes_the_runs(store: MemoryStore, spool: Spool) -> None:
    assert claim(store, DIGITS, spool) is False
    assert claim(store, DIGITS, spool) is False
    with pytest.raises(SettingsError, match=r"is of 00001-digits in memory:, and not of the one in other:"):
        claim(other(), DIGITS, spool)


def test_the_folder_of_a_run_that_the_store_lost_is_not_that_of_the_next_one(store: MemoryStore, spool: Spool) -> None:
    claim(store, DIGITS, spool)
    store.objects.clear()
    with pytest.raises(SettingsError, match="which is there no more"):
        check_home(store, DIGITS, spool.path)
    assert store.objects == {}
    allot(store, "digits", [], join=False)
    with pytest.raises(SettingsError, match="give another --work-dir, or move the folder"):
        claim(store, DIGITS, spool)


def test_what_is_refused_is_left_as_it_was(store: MemoryStore, spool: Spool) -> None:
    claim(store, DIGITS, spool)
    save_pair(spool, name_of(1))
    spool.mark_stored(name_of(1))
    before = {path.name: path.read_bytes() for path in spool.path.iterdir()}
    with pytest.raises(SettingsError):
        claim(other(), DIGITS, spool)
    assert {path.name: path.read_bytes() for path in spool.path.iterdir()} == before


def test_marks_in_a_folder_that_says_no_run_are_not_believed(store: MemoryStore, spool: Spool) -> None:
    save_pair(spool, name_of(1))
    spool.mark_stored(name_of(1))
    assert claim(store, DIGITS, spool) is True
    assert spool.stored() == []
    spool.mark_stored(name_of(1))
    assert claim(store, DIGITS, spool) is False
    assert spool.stored() == [name_of(1)]


def test_a_store_that_moved_has_the_same_runs(store: MemoryStore, spool: Spool) -> None:
    claim(store, DIGITS, spool)
    store.uri = "moved:"
    assert claim(store, DIGITS, spool) is False
    assert '"moved:"' in spool.file(NOTE_FILE).read_text()


def test_a_run_of_an_early_version_is_known_by_when_it_was_begun(store: MemoryStore, spool: Spool) -> None:
    store.objects[f"{DIGITS}/run.json"] = b'{"format": 1, "created": "2026-11-22T10:00:00+00:00"}'
    claim(store, DIGITS, spool)
    assert claim(store, DIGITS, spool) is False
    with pytest.raises(SettingsError):
        claim(other(), DIGITS, spool)


@pytest.mark.parametrize("data", [b"{}", b"[]", b"rot", b'{"id": 3}', b"[" * 100_000, b"1" * 5000, None])
def test_a_run_that_says_nothing_of_itself_is_taken_at_its_name(
    store: MemoryStore, spool: Spool, data: bytes | None
) -> None:
    del store.objects[f"{DIGITS}/run.json"]
    if data is not None:
        store.objects[f"{DIGITS}/run.json"] = data
    save_pair(spool, name_of(1))
    spool.mark_stored(name_of(1))
    assert claim(store, DIGITS, spool) is False
    assert spool.stored() == [name_of(1)]
    assert not spool.file(NOTE_FILE).exists()


@pytest.mark.parametrize("data", [b"", b"rot", b"[]", b"{}", b'{"id": []}', b"\xff"])
def test_a_note_that_says_nothing_is_none(store: MemoryStore, spool: Spool, data: bytes) -> None:
    spool.file(NOTE_FILE).write_bytes(data)
    save_pair(spool, name_of(1))
    check_home(store, DIGITS, spool.path)
    assert claim(store, DIGITS, spool) is True


def test_one_that_is_begun_by_another_process_at_the_same_time_is_the_same_run(
    store: MemoryStore, spool: Spool
) -> None:
    claim(store, DIGITS, spool)
    check_home(store, DIGITS, spool.path)


def test_a_folder_that_takes_no_note_is_used_all_the_same(store: MemoryStore, spool: Spool) -> None:
    spool.file(NOTE_FILE).mkdir()
    assert claim(store, DIGITS, spool) is False

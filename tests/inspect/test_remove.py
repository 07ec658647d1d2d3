"""The removal of a run, interrupted at each object and repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.stored import Run, name_of
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import Fenced, Permanent, Transient
from holdfast.core.runs import COMPLETE_FILE, LEASE_FILE, RunId
from holdfast.inspect.remove import remove_last, remove_run
from holdfast.inspect.verify import check_pair

NEWEST = name_of(3)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run(store: MemoryStore, tmp_path: Path) -> Run:
    """Three pairs, data without a manifest, logs, artifacts, a lease, and the mark of completion."""
    made = Run(store, tmp_path)
    made.pairs(1, 2, 3)
    made.orphan(name_of(4))
    for key in ("log-i1.txt", "events-i1.jsonl", "training_options.json", "artifacts/best.keras", "artifacts.json"):
        made.file(key, b"x")
    made.lease("held")
    made.finish()
    return made


def nothing(*_: object) -> None:
    pass


def test_all_of_the_run_goes_and_nothing_of_another(run: Run, store: MemoryStore, tmp_path: Path) -> None:
    other = Run(store, tmp_path, RunId(2, "digits"))
    other.pairs(1)
    kept = {key: data for key, data in store.objects.items() if key.startswith(f"{other.id}/")}
    gone = {key: data for key, data in store.objects.items() if key.startswith(f"{run.id}/")}
    sizes: list[int] = []
    listed = run.contents()
    remove_run(store, run.id, nothing, sizes.append)
    last = {f"{run.id}/{file}": gone.pop(f"{run.id}/{file}") for file in (LEASE_FILE, COMPLETE_FILE)}
    assert store.objects == {**kept, **last}
    assert sorted(sizes) == sorted(map(len, gone.values()))
    assert sum(remove_last(store, listed)) == listed.size - sum(sizes), "what was listed, and no more"
    assert store.objects == kept


def test_an_interruption_leaves_a_run_that_resumes_or_has_no_pairs_and_its_repetition_removes_it(
    run: Run, store: MemoryStore, scratch: Path
) -> None:
    """Complete stays complete until nothing else is left."""
    interruptions = 0
    while True:
        left = 1

        def once() -> None:
            nonlocal left
            if left == 0:
                raise Fenced("interrupted")
            left -= 1

        try:
            remove_run(store, run.id, once, nothing)
        except Fenced:
            interruptions += 1
        else:
            break
        contents = run.contents()
        assert contents.complete
        if contents.pairs:
            assert contents.pairs[0].name == NEWEST
            assert not check_pair(store, run.id, contents.pairs[0], scratch, nothing).problems
    assert interruptions > 10
    flaky = FlakyStore(store).fail("delete", Transient("away"), suffix=COMPLETE_FILE)
    with pytest.raises(Transient):
        list(remove_last(flaky, run.contents()))
    assert list(store.objects) == [f"{run.id}/{COMPLETE_FILE}"], "the lease is gone, and the run is still complete"
    list(remove_last(flaky, run.contents()))
    assert store.objects == {}


def test_what_the_store_refuses_ends_it_and_the_newest_manifest_is_still_there(run: Run, store: MemoryStore) -> None:
    flaky = FlakyStore(store).fail("delete", Permanent("denied"), suffix=f"{name_of(1)}.json")
    with pytest.raises(Permanent, match="denied"):
        remove_run(flaky, run.id, nothing, nothing)
    assert NEWEST in run.names()
    remove_run(flaky, run.id, nothing, nothing)
    assert run.names() == []


def test_a_key_that_no_store_takes_is_left_to_its_owner(run: Run, store: MemoryStore) -> None:
    odd = f"{run.id}/notes\\mine"
    store.objects[odd] = b"x"
    remove_run(store, run.id, nothing, nothing)
    list(remove_last(store, run.contents()))
    assert list(store.objects) == [odd]

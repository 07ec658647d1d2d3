from __future__ import annotations

from pathlib import Path

import pytest

from fakes.stored import Run, name_of
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import SettingsError, Transient
from holdfast.core.manifest import MAX_MANIFEST_BYTES
from holdfast.inspect.verify import Verdict, check_pair, newest_valid
from holdfast.store import Store
from holdfast.store.download import check_room


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run(store: MemoryStore, tmp_path: Path) -> Run:
    return Run(store, tmp_path)


def check(run: Run, scratch: Path, store: Store | None = None) -> Verdict:
    return check_pair(store or run.store, run.id, run.contents().pairs[0], scratch, lambda name, done: None)


def test_a_pair_as_it_was_stored_is_whole(run: Run, scratch: Path) -> None:
    run.pairs(1)
    verdict = check(run, scratch)
    assert (verdict.status, verdict.problems) == ("whole", ())
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("part", ["h5", "pkl"])
def test_one_flipped_bit_is_found(run: Run, scratch: Path, part: str) -> None:
    run.pairs(1)
    run.flip(name_of(1), part)
    verdict = check(run, scratch)
    assert verdict.status == "damaged"
    assert verdict.problems == (f"its .{part} differs from its checksum",)
    assert list(scratch.iterdir()) == []


def test_a_file_of_another_size_is_damage_and_is_not_fetched(run: Run, store: MemoryStore, scratch: Path) -> None:
    run.pairs(1)
    run.damage(name_of(1), "h5", b"x" * 1_000_000)
    store.reads.clear()
    assert "has 1000000 bytes where its manifest says" in check(run, scratch).problems[0]
    assert run.key(name_of(1), "h5") not in store.reads


def test_every_problem_of_a_pair_is_named(run: Run, scratch: Path) -> None:
    run.pairs(1)
    run.damage(name_of(1), "h5", None)
    run.flip(name_of(1), "pkl")
    assert check(run, scratch).problems == (
        "its .h5 is not in the store",
        "its .pkl differs from its checksum",
    )


@pytest.mark.parametrize("data", [b"", b"{}", b"rot", b'{"format": 99}', b"[" * 10_000])
def test_a_manifest_that_cannot_be_read_is_damage(run: Run, scratch: Path, data: bytes) -> None:
    run.pairs(1)
    run.damage(name_of(1), "json", data)
    [problem] = check(run, scratch).problems
    assert problem.startswith("unreadable manifest: ")


def test_a_manifest_of_an_absurd_size_is_not_read(run: Run, store: MemoryStore, scratch: Path) -> None:
    run.pairs(1)
    run.damage(name_of(1), "json", b" " * (MAX_MANIFEST_BYTES + 1))
    store.reads.clear()
    assert "not credible" in check(run, scratch).problems[0]
    assert store.reads == []


def test_a_pair_that_is_pruned_meanwhile_is_not_called_damaged(run: Run, scratch: Path) -> None:
    run.pairs(1)
    flaky = FlakyStore(run.store)

    def prune(operation: str, key: str) -> None:
        if operation == "fetch":
            for part in ("json", "h5", "pkl"):
                run.store.delete(run.key(name_of(1), part))

    flaky.before = prune
    verdict = check(run, scratch, flaky)
    assert (verdict.status, verdict.problems) == ("removed", ())


def test_an_outage_is_not_taken_for_damage(run: Run, scratch: Path) -> None:
    run.pairs(1)
    with pytest.raises(Transient):
        check(run, scratch, FlakyStore(run.store).fail("fetch", Transient("away")))
    assert list(scratch.iterdir()) == []


def test_what_was_damaged_on_its_way_only_is_whole(run: Run, scratch: Path) -> None:
    class Noisy(MemoryStore):
        def fetch(self, key: str, path: Path, most: int | None = None) -> None:
            again = key in self.reads
            super().fetch(key, path, most)
            if not again:
                path.write_bytes(b"X" + path.read_bytes()[1:])

    run.pairs(1)
    noisy = Noisy()
    noisy.objects = run.store.objects  # type: ignore[attr-defined]
    assert check(run, scratch, noisy).status == "whole"


def test_progress_counts_all_bytes_of_a_pair(run: Run, scratch: Path) -> None:
    manifest = run.pair(name_of(1))
    done: list[int] = []
    check_pair(run.store, run.id, run.contents().pairs[0], scratch, lambda name, size: done.append(size))
    assert sum(done) == manifest.size


def test_the_newest_valid_pair_is_found_behind_damaged_and_diverged_ones(run: Run, scratch: Path) -> None:
    run.pairs(1, 2, 3)
    run.pair(name_of(4, loss=float("nan")))
    run.flip(name_of(3))
    name, passed = newest_valid(run.store, run.contents(), scratch, lambda name, done: None)
    assert name == name_of(2)
    assert [verdict.name for verdict in passed] == [name_of(3)]


def test_a_disk_without_room_is_named_before_anything_is_fetched(scratch: Path) -> None:
    with pytest.raises(SettingsError, match="make room there"):
        check_room(scratch, 1 << 60)

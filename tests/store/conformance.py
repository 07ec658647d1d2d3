"""What every store must do, whatever is behind it: one suite, and a small factory for each store."""

from __future__ import annotations

import hashlib
import itertools
import stat
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast.core.errors import Conflict, Corrupted, NotFound, SourceError, TooLarge, Transient
from holdfast.core.manifest import FileParts
from holdfast.spool import PART
from holdfast.store import SMALL, Entry, KnownParts, Store

Make = Callable[[str], Store]

RACERS = 12
HOSTILE = ["", "/", "/etc", "a/", "a//b", "..", "../a", "a/../b", ".", "./a", "a\nb", "a\x00b", "a\x7f", "a\\b", "é"]
HOSTILE += [".tmp-x", "a/.tmp-x/b", ".store-lock"]  # names that a directory store has for itself
HOSTILE_PREFIXES = ["/", "/etc", "a//b", "../", "../a", "a/../", "a/../b", "./", ".tmp-x/", "a\nb", "é"]


class ConditionalWrites:
    """A subclass gives a fixture ``make``: a factory of stores that share one space, each under a prefix of its own.

    It says so where the store behind it cannot do something.
    """

    exclusive = True  # does exactly one of several racing conditional writes win?

    @pytest.fixture
    def store(self, make: Make) -> Store:
        return make("one")

    def test_a_created_object_has_the_tag_that_create_returned(self, store: Store) -> None:
        tag = store.create("a/lease.json", b"first")
        assert store.get("a/lease.json") == (b"first", tag)

    def test_create_conflicts_on_an_existing_key_and_leaves_it_alone(self, store: Store) -> None:
        tag = store.create("key", b"first")
        with pytest.raises(Conflict):
            store.create("key", b"second")
        assert store.get("key") == (b"first", tag)

    def test_create_conflicts_with_a_file_that_was_put(self, store: Store, scratch: Path) -> None:
        store.put("key", _file(scratch, b"first"))
        with pytest.raises(Conflict):
            store.create("key", b"second")
        assert store.get("key")[0] == b"first"

    def test_a_deleted_key_can_be_created_again(self, store: Store) -> None:
        store.create("key", b"first")
        store.delete("key")
        store.create("key", b"second")
        assert store.get("key")[0] == b"second"

    def test_of_racing_creators_exactly_one_wins(self, store: Store) -> None:
        winners = _race(lambda number: store.create("key", b"%d" % number))
        self._check_race(winners, store.get("key")[0])

    def test_replace_with_the_right_tag_returns_the_new_tag(self, store: Store) -> None:
        tag = store.replace("key", b"second", store.create("key", b"first"))
        assert store.get("key") == (b"second", tag)
        store.replace("key", b"third", tag)
        assert store.get("key")[0] == b"third"

    def test_replace_with_a_stale_tag_conflicts_and_changes_nothing(self, store: Store) -> None:
        stale = store.create("key", b"first")
        store.replace("key", b"second", stale)
        with pytest.raises(Conflict):
            store.replace("key", b"third", stale)
        assert store.get("key")[0] == b"second"

    def test_replace_of_a_missing_key_conflicts_and_makes_nothing(self, store: Store) -> None:
        with pytest.raises(Conflict):
            store.replace("a/key", b"data", '"0123456789abcdef0123456789abcdef"')
        assert store.list("") == []

    def test_replace_of_a_deleted_key_conflicts(self, store: Store) -> None:
        tag = store.create("key", b"first")
        store.delete("key")
        with pytest.raises(Conflict):
            store.replace("key", b"second", tag)

    def test_of_racing_replacers_with_one_tag_exactly_one_wins(self, store: Store) -> None:
        tag = store.create("key", b"first")
        winners = _race(lambda number: store.replace("key", b"%d" % number, tag))
        self._check_race(winners, store.get("key")[0])

    def _check_race(self, winners: list[int], content: bytes) -> None:
        assert len(winners) == 1 or (winners and not self.exclusive)
        assert content in [b"%d" % number for number in winners]


class StoreConformance(ConditionalWrites):
    """All that a store must do."""

    many = 1005  # keys: more than S3 lists in one answer

    # --- files -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("content", [b"", b"some bytes \x00\xff"], ids=["empty", "small"])
    def test_a_file_comes_back_as_it_was_stored(self, store: Store, scratch: Path, content: bytes) -> None:
        store.put("run/model.h5", _file(scratch, content))

        store.fetch("run/model.h5", scratch / "back")

        assert (scratch / "back").read_bytes() == content
        assert store.get("run/model.h5")[0] == content

    def test_a_file_of_many_parts_comes_back_as_it_was_stored(self, store: Store, scratch: Path) -> None:
        content = b"".join(number.to_bytes(4, "big") * (1 << 18) for number in range(40))
        store.put("run/model.h5", _file(scratch, content))

        store.fetch("run/model.h5", scratch / "back")

        assert (scratch / "back").read_bytes() == content
        assert store.list("") == [Entry("run/model.h5", 40 << 20)]

    def test_put_replaces_whatever_stood_there(self, store: Store, scratch: Path) -> None:
        store.put("log.txt", _file(scratch, b"a long first version"))
        store.put("log.txt", _file(scratch, b"second"))
        assert store.get("log.txt")[0] == b"second"

    @pytest.mark.parametrize("file", ["gone", "folder"])
    def test_put_of_a_file_that_cannot_be_read_is_no_error_of_the_store_and_changes_nothing(
        self, store: Store, scratch: Path, file: str
    ) -> None:
        (scratch / "folder").mkdir()
        store.put("old", _file(scratch, b"as it was"))
        for key in ("old", "run/model.h5"):
            with pytest.raises(SourceError, match=f"{file} cannot be read: "):
                store.put(key, scratch / file)
        assert [entry.key for entry in store.list("")] == ["old"]
        assert store.get("old")[0] == b"as it was"

    def test_fetch_replaces_the_file_that_it_is_given(self, store: Store, scratch: Path) -> None:
        store.create("key", b"new")
        store.fetch("key", _file(scratch, b"old and longer"))
        assert (scratch / "file").read_bytes() == b"new"

    def test_fetch_into_a_folder_that_is_not_there_is_a_store_error(self, store: Store, scratch: Path) -> None:
        store.create("key", b"data")
        with pytest.raises(Transient):
            store.fetch("key", scratch / "missing" / "file")

    def test_only_the_owner_may_read_what_was_fetched(self, store: Store, scratch: Path) -> None:
        store.create("key", b"data")
        (scratch / "old").touch(mode=0o644)
        for name in ("new", "old"):
            store.fetch("key", scratch / name)
            assert stat.S_IMODE((scratch / name).stat().st_mode) == 0o600

    def test_a_fetch_that_fails_leaves_the_file_that_was_there_and_no_rest(self, store: Store, scratch: Path) -> None:
        file = _file(scratch, b"as it was")
        with pytest.raises(NotFound):
            store.fetch("key", file)
        assert [path.read_bytes() for path in scratch.iterdir()] == [b"as it was"]

    # --- what was recorded, and what was sent ----------------------------------------------------------------------

    @pytest.mark.parametrize("size", [0, 5, 20 << 20])
    def test_content_that_is_what_was_recorded_is_stored(self, store: Store, scratch: Path, size: int) -> None:
        content = bytes(size)
        store.put("run/model.h5", _file(scratch, content), crc32=zlib.crc32(content))
        assert store.get("run/model.h5", most=size)[0] == content

    @pytest.mark.parametrize("size", [5, 20 << 20])
    def test_content_that_is_not_what_was_recorded_is_corrupted_and_not_stored(
        self, store: Store, scratch: Path, size: int
    ) -> None:
        store.put("old", _file(scratch, b"as it was"))
        for key in ("old", "run/model.h5"):
            with pytest.raises(Corrupted, match=key):
                store.put(key, _file(scratch, bytes(size)), crc32=zlib.crc32(b"something else"))
        assert store.list("") == [Entry("old", 9)]

    # --- parts that the store has already --------------------------------------------------------------------------

    def test_a_file_with_unchanged_parts_comes_back_as_it_was_stored(self, store: Store, scratch: Path) -> None:
        """Whatever the store copies by itself, and wherever it does so, of the one file or the other."""
        first = bytearray(b"".join(number.to_bytes(4, "big") * (1 << 18) for number in range(20)))
        copied: list[int] = []
        before = bytes(first)
        store.put("run/1.h5", _file(scratch, before), known=_known("run/1.h5", before).parts)
        for number, changed in enumerate(([0], [9 << 20, 10 << 20], [], [len(first) - 1]), 2):
            for at in changed:
                first[at] ^= 0xFF
            key, told = f"run/{number}.h5", list[int]()
            known = _known(key, bytes(first), f"run/{number - 1}.h5", before, copied)
            store.put(key, _file(scratch, bytes(first)), known.whole_crc32, told.append, known.parts)
            before = bytes(first)
            store.fetch(key, scratch / "back")
            assert (scratch / "back").read_bytes() == before
            assert sum(told) == len(before), "what is copied counts as sent"
        assert sum(copied) in (0, 2 * PART - (4 << 20) + 2 * PART - (4 << 20) + (20 << 20) + 2 * PART)

    def test_where_the_earlier_object_is_gone_all_is_sent(self, store: Store, scratch: Path) -> None:
        content, copied = bytes(20 << 20), list[int]()
        store.put("run/1.h5", _file(scratch, content), known=_known("run/1.h5", content).parts)
        store.delete("run/1.h5")
        store.put("run/2.h5", scratch / "file", known=_known("run/2.h5", content, "run/1.h5", content, copied).parts)
        assert store.list("") == [Entry("run/2.h5", 20 << 20)]
        assert copied == []

    @pytest.mark.parametrize("at", [0, 17 << 20])
    def test_a_part_that_is_not_what_was_recorded_is_corrupted_and_not_stored(
        self, store: Store, scratch: Path, at: int
    ) -> None:
        content = bytearray(20 << 20)
        known = _known("run/1.h5", bytes(content))
        content[at] = 1
        with pytest.raises(Corrupted, match=r"run/1\.h5"):
            store.put("run/1.h5", _file(scratch, bytes(content)), known.whole_crc32, known=known.parts)
        assert store.list("") == []

    @pytest.mark.parametrize("size", [0, 1, 20 << 20])
    def test_a_put_tells_how_much_it_sent(self, store: Store, scratch: Path, size: int) -> None:
        told: list[int] = []
        store.put("key", _file(scratch, bytes(size)), progress=told.append)
        assert sum(told) == size

    @pytest.mark.parametrize("size", [1, 300 << 10, 40 << 20])
    @pytest.mark.parametrize("portion", [0.0, 0.5, 1.0])
    def test_a_put_is_abandoned_by_what_its_progress_raises(
        self, store: Store, scratch: Path, size: int, portion: float
    ) -> None:
        sent = 0
        lock = threading.Lock()

        def progress(count: int) -> None:
            nonlocal sent
            with lock:
                sent += count
            if sent >= size * portion:
                raise _EnoughError

        store.put("old", _file(scratch, b"as it was"))
        for key in ("old", "key"):
            sent = 0
            with pytest.raises(_EnoughError):
                store.put(key, _file(scratch, bytes(size)), progress=progress)
        assert store.list("") == [Entry("old", 9)]

    # --- what is missing -------------------------------------------------------------------------------------------

    def test_a_missing_object_is_not_found(self, store: Store, scratch: Path) -> None:
        store.create("a/b", b"")
        for key in ("key", "a/c", "c/d", "a", "a/b/c"):  # the last two: a folder, and a part below an object
            with pytest.raises(NotFound, match=key):
                store.get(key)
            with pytest.raises(NotFound, match=key):
                store.fetch(key, scratch / "back")

    def test_delete_removes_one_object_and_does_not_mind_a_missing_one(self, store: Store) -> None:
        store.create("a/b", b"1")
        store.create("a/c", b"2")
        for _ in range(2):
            store.delete("a/b")
        store.delete("never/was")
        assert store.list("") == [Entry("a/c", 1)]

    def test_delete_does_not_mind_a_folder_or_what_would_be_below_an_object(self, store: Store) -> None:
        store.create("a/c", b"2")
        for key in ("a", "a/c/d"):
            store.delete(key)
        assert store.list("") == [Entry("a/c", 1)]

    # --- what is too large -----------------------------------------------------------------------------------------

    def test_an_object_that_is_too_large_is_not_read_and_its_tag_is_told(self, store: Store, scratch: Path) -> None:
        tag = store.create("key", b"12345")
        assert store.get("key", most=5) == (b"12345", tag)
        with pytest.raises(TooLarge, match="key") as caught:
            store.get("key", most=4)
        assert caught.value.tag == tag

    @pytest.mark.parametrize("size", [0, 5, 20 << 20])
    def test_a_fetch_takes_as_much_as_it_was_told_and_no_byte_more(
        self, store: Store, scratch: Path, size: int
    ) -> None:
        store.put("key", _file(scratch, bytes(size)))
        store.fetch("key", scratch / "back", most=size)
        assert (scratch / "back").stat().st_size == size

        store.put("key", _file(scratch, bytes(size + 1)))
        before = _file(scratch, b"as it was")
        for path in (before, scratch / "new"):
            with pytest.raises(TooLarge, match="key"):
                store.fetch("key", path, most=size)
        assert before.read_bytes() == b"as it was"
        assert {path.name for path in scratch.iterdir()} == {"back", "file"}

    @pytest.mark.parametrize("size", [SMALL, SMALL + 1, 4 * SMALL])
    def test_a_large_object_can_be_replaced_by_its_tag(self, store: Store, scratch: Path, size: int) -> None:
        store.put("key", _file(scratch, bytes(size)))
        tag = store.get("key", most=size)[1]
        if size > SMALL:
            with pytest.raises(TooLarge) as caught:
                store.get("key")
            assert caught.value.tag == tag
        store.replace("key", b"small", tag)
        assert store.get("key")[0] == b"small"
        with pytest.raises(Conflict):
            store.replace("key", b"again", tag)

    # --- what unfinished writes left -------------------------------------------------------------------------------

    def test_a_sweep_removes_no_object_and_may_be_repeated(self, store: Store) -> None:
        for key in ("run/a", "run/b/c", "runs/a"):
            store.create(key, b"")
        for prefix in ("run/", "run/", "", "never/was"):
            store.sweep(prefix)
        assert [entry.key for entry in store.list("")] == ["run/a", "run/b/c", "runs/a"]

    # --- listings --------------------------------------------------------------------------------------------------

    def test_a_store_that_holds_nothing_lists_nothing(self, store: Store) -> None:
        assert store.list("") == store.list("a/") == store.list("", shallow=True) == []

    def test_a_listing_is_ordered_by_key_and_tells_sizes(self, store: Store) -> None:
        for key in ("b", "a/b", "a-b", "a/a/c", "a.b", "B"):
            store.create(key, key.encode())
        assert store.list("") == [Entry(key, len(key)) for key in ("B", "a-b", "a.b", "a/a/c", "a/b", "b")]

    def test_a_listing_tells_when_an_object_was_written(self, store: Store) -> None:
        """By the store's clock, to the second."""
        before = datetime.now(UTC) - timedelta(minutes=5)
        store.create("key", b"x")
        [entry] = store.list("")
        assert entry.modified is not None
        assert before < entry.modified < before + timedelta(minutes=10)

    def test_a_prefix_is_text_and_not_a_folder(self, store: Store) -> None:
        for key in ("a/b", "a/bc", "a/bd/e", "ab", "b"):
            store.create(key, b"")
        expected = {
            "a": ["a/b", "a/bc", "a/bd/e", "ab"],
            "a/": ["a/b", "a/bc", "a/bd/e"],
            "a/b": ["a/b", "a/bc", "a/bd/e"],
            "a/b/": [],
            "a/bd/": ["a/bd/e"],
            "x": [],
        }
        assert {prefix: [entry.key for entry in store.list(prefix)] for prefix in expected} == expected

    def test_a_shallow_listing_shows_what_lies_deeper_as_one_folder(self, store: Store) -> None:
        for key in ("00001-a/run.json", "00001-a/artifacts/x/y", "00001-a/artifacts/z", "00002-b/run.json"):
            store.create(key, b"{}")
        store.create("note", b"text")
        expected = {
            "": [Entry("00001-a/", 0), Entry("00002-b/", 0), Entry("note", 4)],
            "0000": [Entry("00001-a/", 0), Entry("00002-b/", 0)],
            "00001-a": [Entry("00001-a/", 0)],
            "00001-a/": [Entry("00001-a/artifacts/", 0), Entry("00001-a/run.json", 2)],
        }
        assert {prefix: store.list(prefix, shallow=True) for prefix in expected} == expected

    def test_a_listing_of_many_keys_is_complete(self, store: Store) -> None:
        keys = [f"run/model-{number:04d}" for number in range(self.many)]
        store.create(keys[0], b"x")  # rclone answers 500 where several writers make its folder at once
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.create(key, b"x"), keys[1:]))
        assert store.list("run/") == [Entry(key, 1) for key in keys]

    # --- keys ------------------------------------------------------------------------------------------------------

    def test_stores_under_different_prefixes_do_not_see_each_other(self, make: Make, scratch: Path) -> None:
        one, longer = make("runs"), make("runs-2")
        one.create("key", b"one")
        longer.create("key", b"longer")
        longer.create("other", b"")

        one.delete("other")

        assert one.get("key")[0] == b"one"
        assert one.list("") == [Entry("key", 3)]
        assert one.list("", shallow=True) == [Entry("key", 3)]
        assert longer.list("") == [Entry("key", 6), Entry("other", 0)]

    def test_a_hostile_key_is_refused_by_every_operation(self, store: Store, scratch: Path) -> None:
        file = _file(scratch, b"data")
        operations: list[Callable[[str], object]] = [
            lambda key: store.put(key, file),
            lambda key: store.create(key, b"data"),
            lambda key: store.replace(key, b"data", "tag"),
            lambda key: store.get(key),
            lambda key: store.fetch(key, file),
            lambda key: store.delete(key),
        ]
        for operation, key in itertools.product(operations, HOSTILE):
            with pytest.raises(ValueError, match="not a store key"):
                operation(key)
        assert store.list("") == []

    @pytest.mark.parametrize("prefix", HOSTILE_PREFIXES)
    def test_a_hostile_prefix_is_refused(self, store: Store, prefix: str) -> None:
        operations: list[Callable[[], object]] = [
            lambda: store.list(prefix),
            lambda: store.list(prefix, shallow=True),
            lambda: store.sweep(prefix),
        ]
        for operation in operations:
            with pytest.raises(ValueError, match="store key"):
                operation()


class _EnoughError(OSError):
    """What a caller raises to end a put; an error of this kind must not be taken for one of the store's own."""


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


@dataclass(frozen=True)
class _Known:
    parts: KnownParts
    whole_crc32: int


def _known(key: str, content: bytes, source: str = "", earlier: bytes = b"", copied: list[int] | None = None) -> _Known:
    """What is known of that content, and which of its parts ``source`` has, whose content is ``earlier``."""
    pieces, others = ([data[at : at + PART] for at in range(0, len(data), PART)] for data in (content, earlier))
    sums = tuple(hashlib.sha256(piece).hexdigest() for piece in pieces)
    parts = FileParts(PART, sums, tuple(map(zlib.crc32, pieces)))
    same = frozenset(index for index, (one, other) in enumerate(zip(pieces, others, strict=False)) if one == other)
    told = copied if copied is not None else list[int]()
    return _Known(KnownParts(key, parts, source, same, told.append), zlib.crc32(content))


def _race(attempt: Callable[[int], object]) -> list[int]:
    """The numbers of those, of twelve that start together, that won.

    A store may ask some of the others to come again: what it does not confirm is not won.
    """
    start = threading.Barrier(RACERS)

    def run(number: int) -> bool:
        start.wait(timeout=30)
        try:
            attempt(number)
        except (Conflict, Transient):
            return False
        return True

    with ThreadPoolExecutor(RACERS) as pool:
        won = list(pool.map(run, range(RACERS)))
    return [number for number in range(RACERS) if won[number]]

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.core.errors import Conflict, Permanent, StoreError, TooLarge
from holdfast.store import Entry
from holdfast.store.directory import DirectoryStore
from store.conformance import Make, StoreConformance


class TestDirectoryStore(StoreConformance):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda prefix: DirectoryStore(tmp_path / "store" / prefix)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> DirectoryStore:
    return DirectoryStore(root)


def files_in(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_it_asks_for_a_spool_that_survives_a_power_cut(store: DirectoryStore, root: Path) -> None:
    assert store.durable_spool
    assert store.uri == str(root)


def test_a_put_whose_source_vanishes_leaves_the_old_object_and_no_rest(
    store: DirectoryStore, root: Path, scratch: Path
) -> None:
    store.create("run/model.h5", b"whole")
    with pytest.raises(StoreError):
        store.put("run/model.h5", scratch / "vanished")
    assert files_in(root) == {"run/model.h5"}
    assert store.get("run/model.h5")[0] == b"whole"


def test_a_create_that_loses_leaves_no_rest(store: DirectoryStore, root: Path) -> None:
    store.create("key", b"first")
    with pytest.raises(Conflict):
        store.create("key", b"second")
    assert files_in(root) == {"key"}


def test_what_a_crash_left_and_the_lock_are_not_listed(store: DirectoryStore, root: Path) -> None:
    store.replace("run/key", b"second", store.create("run/key", b"first"))
    (root / "run" / ".tmp-0123-model.h5").write_bytes(b"half")
    assert len(files_in(root)) == 3
    assert store.list("") == [Entry("run/key", 6)]
    assert store.list("", shallow=True) == [Entry("run/", 0)]


def test_a_sweep_removes_what_a_crash_left_under_its_prefix(store: DirectoryStore, root: Path) -> None:
    left = [
        "run/.tmp-0123456789ab-model.h5",
        "run/a/.tmp-0123456789ab-x",
        "runs/.tmp-0123456789ab-x",
        ".tmp-0123456789ab-x",
    ]
    for key in ("run/key", "run/a/key", "runs/key"):
        store.create(key, b"")
    for name in left:
        (root / name).write_bytes(b"half")

    store.sweep("run/b")
    assert files_in(root) == {"run/key", "run/a/key", "runs/key", *left}
    for _ in range(2):
        store.sweep("run/")
        assert files_in(root) == {"run/key", "run/a/key", "runs/key", *left[2:]}
    store.sweep("")
    assert files_in(root) == {"run/key", "run/a/key", "runs/key"}


def test_an_object_of_absurd_size_is_neither_read_nor_in_the_way(store: DirectoryStore, root: Path) -> None:
    store.create("run/lease.json", b"")
    os.truncate(root / "run" / "lease.json", 1 << 40)
    with pytest.raises(TooLarge, match=r"lease\.json") as caught:
        store.get("run/lease.json")
    store.replace("run/lease.json", b"{}", caught.value.tag)
    assert store.get("run/lease.json")[0] == b"{}"


def test_a_listing_does_not_mind_what_is_deleted_meanwhile(store: DirectoryStore) -> None:
    store.create("run/stays", b"")
    done = threading.Event()

    def come_and_go(number: int) -> None:
        while not done.is_set():
            store.create(f"run/{number}", b"")
            store.delete(f"run/{number}")

    with ThreadPoolExecutor(4) as pool:
        others = [pool.submit(come_and_go, number) for number in range(4)]
        try:
            assert all(Entry("run/stays", 0) in store.list("run/") for _ in range(10_000))
        finally:
            done.set()
    assert all(other.exception() is None for other in others)


def test_symbolic_links_are_not_listed(store: DirectoryStore, root: Path, scratch: Path) -> None:
    store.create("run/key", b"")
    (scratch / "secret").write_text("not ours")
    (root / "file").symlink_to(scratch / "secret")
    (root / "folder").symlink_to(scratch)
    (root / "run" / "loop").symlink_to(root)
    assert store.list("") == [Entry("run/key", 0)]


def test_only_the_owner_may_read_what_is_stored(store: DirectoryStore, root: Path, scratch: Path) -> None:
    readable = scratch / "source"
    readable.write_bytes(b"data")
    readable.chmod(0o644)
    store.put("run/put", readable)
    store.replace("run/replaced", b"2", store.create("run/replaced", b"1"))
    store.create("run/created", b"")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (root / "run").iterdir()}
    assert modes == {"put": 0o600, "replaced": 0o600, "created": 0o600}
    assert stat.S_IMODE((root / "run").stat().st_mode) == 0o700


def test_a_read_only_directory_is_a_permanent_error_that_names_the_file(scratch: Path) -> None:
    source = scratch / "source"
    source.write_bytes(b"data")
    with read_only_folder() as folder:
        store = DirectoryStore(folder)
        tag = store.get("key")[1]
        with pytest.raises(Permanent, match="other"):
            store.create("other", b"")
        with pytest.raises(Permanent, match="Permission denied"):
            store.replace("key", b"new", tag)
        with pytest.raises(Permanent, match="Permission denied"):
            store.delete("key")
        with pytest.raises(Permanent, match="Permission denied"):
            store.put("other", source)
        assert store.list("") == [Entry("key", 3)]


def test_a_file_where_the_store_should_be_is_a_permanent_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Permanent):
        DirectoryStore(tmp_path / "file" / "store").create("key", b"")


@contextmanager
def read_only_folder() -> Iterator[Path]:
    """Holds ``key`` and takes nothing more. The superuser may write everywhere, so it becomes somebody else here."""
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "key").write_bytes(b"old")
        (folder / "key").chmod(0o444)
        folder.chmod(0o555)
        privileged = os.geteuid() == 0
        if privileged:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if privileged:
                os.seteuid(0)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)

from __future__ import annotations

import ctypes
import itertools
import os
import resource
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from holdfast.core.errors import Conflict, Permanent, SourceError, StoreError, TooLarge, Transient
from holdfast.spool import PART, record_in_parts
from holdfast.store import Entry, KnownParts
from holdfast.store.directory import DirectoryStore
from holdfast.store.directory_files import opened_root, written
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
    with pytest.raises(SourceError):
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


def test_a_put_that_a_sweep_of_the_leases_holder_falls_into_may_be_repeated(
    store: DirectoryStore, root: Path, scratch: Path
) -> None:
    (scratch / "source").write_bytes(b"content")
    with pytest.raises(Transient, match=r"model\.h5"):
        store.put("run/model.h5", scratch / "source", progress=lambda sent: DirectoryStore(root).sweep("run/"))
    store.put("run/model.h5", scratch / "source")
    assert files_in(root) == {"run/model.h5"}


@pytest.mark.parametrize("new", [True, False], ids=["create", "replace"])
def test_so_may_a_small_write_of_who_asks_for_the_lease(store: DirectoryStore, root: Path, new: bool) -> None:
    store.create("key", b"")

    def write() -> None:
        with opened_root(root) as folder, written(folder, "run.json", new) as file:
            file.write(b"{}")
            store.sweep("")

    with pytest.raises(Transient, match=r"run\.json"):
        write()
    assert files_in(root) == {"key"}


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


@pytest.mark.parametrize("linked", ["", "run", "run/artifacts", "run/artifacts/key"])
def test_a_link_on_the_way_to_a_key_is_refused_by_every_operation(
    store: DirectoryStore, root: Path, scratch: Path, linked: str
) -> None:
    key = "run/artifacts/key"
    source = scratch / "source"
    source.write_bytes(b"data")
    tag = store.create(key, b"as it was")
    elsewhere = scratch / "elsewhere"
    (root / linked).rename(elsewhere)
    (root / linked).symlink_to(elsewhere)
    operations: list[Callable[[], object]] = [
        lambda: store.put(key, source),
        lambda: store.create(key, b"data"),
        lambda: store.replace(key, b"data", tag),
        lambda: store.get(key),
        lambda: store.fetch(key, scratch / "back"),
        lambda: store.delete(key),
        lambda: store.list(""),
        lambda: store.list("run", shallow=True) if linked == "run" else store.list("run/"),
        lambda: store.list(key),
    ]
    for operation in operations:
        if linked:
            with pytest.raises(Permanent, match=f"{linked} is a link.*put in its place what it points to"):
                operation()
    rest = elsewhere if elsewhere.is_file() else elsewhere / key.removeprefix(linked).strip("/")
    assert rest.read_bytes() == b"as it was"
    assert not (scratch / "back").exists()
    if not linked:
        assert store.get(key)[0] == b"as it was", "where the store itself is, is for the user to say"


def test_a_folder_that_becomes_a_link_between_two_looks_leads_nowhere(
    store: DirectoryStore, root: Path, scratch: Path
) -> None:
    """Whoever can write in the store may swap a folder at any moment; nothing outside is read, written or removed."""
    (scratch / "source").write_bytes(b"ours")
    tag = store.create("run/key", b"ours")
    theirs, names = scratch / "theirs", ("key", ".tmp-0123456789ab-key")
    theirs.mkdir()
    for name in names:
        (theirs / name).write_bytes(b"theirs")
    (root / "link").symlink_to(theirs)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            exchange(root / "run", root / "link")

    operations: list[Callable[[], object]] = [
        lambda: store.get("run/key")[0] == b"ours",
        lambda: store.fetch("run/key", scratch / "back"),
        lambda: {entry.size for entry in store.list("run/")} == {4},
        lambda: store.put("run/new", scratch / "source"),
        lambda: store.create("run/newer", b"ours"),
        lambda: store.replace("run/key", b"ours", tag),
        lambda: store.sweep("run/"),
        lambda: store.delete("run/key"),
    ]
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(swap)
        try:
            for operation, _ in itertools.product(operations, range(2000)):
                with suppress(StoreError):
                    assert operation() is not False
        finally:
            done.set()
    assert other.exception() is None
    assert {path.name: path.read_bytes() for path in theirs.iterdir()} == dict.fromkeys(names, b"theirs")
    assert (scratch / "back").read_bytes() == b"ours"


def exchange(one: Path, other: Path) -> None:
    """Each takes the other's name, in one step."""
    libc, here, exchange = ctypes.CDLL(None, use_errno=True), -100, 2
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange):
        raise OSError(ctypes.get_errno(), "renameat2")


def test_a_link_beside_what_is_listed_is_in_nobodys_way(store: DirectoryStore, root: Path, scratch: Path) -> None:
    store.create("run/key", b"")
    (root / "other").symlink_to(scratch)
    (root / "run" / ".tmp-0123456789ab-key").symlink_to(scratch)
    assert store.list("run/") == [Entry("run/key", 0)]


def test_a_sweep_follows_no_link(store: DirectoryStore, root: Path, scratch: Path) -> None:
    store.create("run/key", b"")
    outside = scratch / ".tmp-0123456789ab-mine"
    outside.write_bytes(b"not the store's")
    (root / "run" / "folder").symlink_to(scratch)
    store.sweep("")
    with pytest.raises(Permanent, match="is a link"):
        store.sweep("run/folder/")
    assert outside.exists()


def test_what_is_no_plain_file_is_neither_listed_nor_waited_for(
    store: DirectoryStore, root: Path, scratch: Path
) -> None:
    store.create("run/key", b"")
    os.mkfifo(root / "run" / "pipe")
    assert store.list("") == [Entry("run/key", 0)]
    with pytest.raises(Permanent, match="pipe is not a plain file"):
        store.get("run/pipe")
    with pytest.raises(Permanent, match="pipe is not a plain file"):
        store.fetch("run/pipe", scratch / "back")


def test_a_folder_in_the_place_of_an_object_is_no_conflict_that_could_pass(store: DirectoryStore, root: Path) -> None:
    (root / "run" / "lease.json").mkdir(parents=True)
    with pytest.raises(Permanent, match=r"lease\.json is a folder where a file of the store should be: remove it"):
        store.create("run/lease.json", b"{}")


def test_a_key_below_an_object_cannot_be_written(store: DirectoryStore, scratch: Path) -> None:
    source = scratch / "source"
    source.write_bytes(b"data")
    store.create("run/key", b"")
    with pytest.raises(Permanent):
        store.put("run/key/below", source)
    with pytest.raises(Permanent):
        store.create("run/key/below", b"")


def test_every_folder_that_is_made_on_the_way_is_the_owners_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    DirectoryStore(tmp_path / "mnt" / "store").create("run/artifacts/logs/key", b"")
    made = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(made) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


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


@pytest.mark.parametrize("left", [None, "an empty folder"], ids=["removed", "unmounted"])
def test_of_a_store_that_was_unmounted_nothing_is_taken_for_missing(
    store: DirectoryStore, root: Path, scratch: Path, left: str | None
) -> None:
    """What it holds is there again when it is mounted again: a run without its checkpoints would begin anew."""
    tag = store.create("run/key", b"data")
    root.rename(root.with_name("elsewhere"))
    if left:
        root.mkdir()
    operations: list[Callable[[], object]] = [
        lambda: store.list(""),
        lambda: store.get("run/key"),
        lambda: store.fetch("run/key", scratch / "back"),
        lambda: store.delete("run/key"),
        lambda: store.sweep("run/"),
        lambda: store.create("run/other", b""),
        lambda: store.replace("run/key", b"new", tag),
    ]
    for operation in operations:
        with pytest.raises(Transient, match="removed, or unmounted"):
            operation()
    shutil.rmtree(root, ignore_errors=True)
    root.with_name("elsewhere").rename(root)
    assert store.get("run/key") == (b"data", tag)


def test_where_this_machine_can_open_no_more_files_the_store_may_take_it_later(store: DirectoryStore) -> None:
    store.create("key", b"data")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(Transient, match="Too many open files"):
            store.get("key")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert store.get("key")[0] == b"data"


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


def test_a_store_that_takes_no_files_is_named_with_the_remedy() -> None:
    with pytest.raises(Permanent) as caught:
        DirectoryStore(Path("/sys/holdfast")).create(".holdfast-probe-1", b"")  # not even root may write there
    assert str(caught.value).startswith("--store /sys/holdfast: ")
    assert str(caught.value).endswith("; give one that this user may read and write")


def test_an_earlier_object_that_cannot_be_read_is_not_needed(store: DirectoryStore, root: Path, scratch: Path) -> None:
    content = os.urandom(2 * PART)
    (scratch / "file").write_bytes(content)
    parts = record_in_parts(scratch / "file").parts
    assert parts is not None
    store.create("0.h5", b"")
    (root / "1.h5").symlink_to(scratch / "file")
    known = KnownParts("2.h5", parts, "1.h5", frozenset({0, 1}), pytest.fail)
    store.put("2.h5", scratch / "file", known=known)
    assert (root / "2.h5").read_bytes() == content

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fakes.pairs import content_of, name_of, save_pair, store_only
from fakes.stores import MemoryStore
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import Conflict, SettingsError
from holdfast.core.manifest import PARTS
from holdfast.core.runs import ForkSource, RunId
from holdfast.spool import Spool
from holdfast.supervisor.restore.fork import Fork, adopt, done_before, fetch, locate, note, waiting_room
from holdfast.supervisor.upload.store_pair import store_pair

RUN = "00001-digits"
SOURCE = ForkSource("digits", 20)


@pytest.fixture
def store() -> MemoryStore:
    store = MemoryStore()
    store.create(f"{RUN}/run.json", b"{}")
    return store


@pytest.fixture
def theirs(tmp_path: Path) -> Spool:
    """Where the run was trained that is forked."""
    return Spool(tmp_path / RUN)


@pytest.fixture
def ours(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "00002-other")


def forked(store: MemoryStore, room: Path) -> Fork:
    return fetch(store, SOURCE, locate(store, SOURCE), Spool(room))


def test_the_checkpoint_becomes_the_newest_of_the_run_and_keeps_what_it_holds(
    store: MemoryStore, theirs: Spool, ours: Spool, scratch: Path
) -> None:
    store_only(store, theirs, name_of(2))
    manifest = adopt(forked(store, scratch), ours, incarnation=3, save=9, durable=False)[-1]
    assert manifest.name == replace(name_of(2), incarnation=3, save=9)
    assert (manifest.run, manifest.reason) == ("00002-other", f"from {RUN}@20")
    ours.verify(ours.manifest(manifest.name))
    assert ours.file(manifest.name.file("h5")).read_bytes() == content_of(name_of(2), "h5")
    store_pair(store, ours, manifest.name)


@pytest.mark.parametrize("given", ["digits@20", f"{RUN}@20"])
@pytest.mark.parametrize("again", ["digits@20", f"{RUN}@20", f"{RUN}@020"])
def test_it_is_done_once_however_the_source_is_spelled(
    store: MemoryStore, theirs: Spool, ours: Spool, scratch: Path, given: str, again: str
) -> None:
    store_only(store, theirs, name_of(2))
    store.create("00002-other/run.json", b"{}")
    source = ForkSource.parse(given)
    assert done_before(store, source, "other") is None
    fork = fetch(store, source, locate(store, source), Spool(scratch))
    manifest = adopt(fork, ours, 3, 9, durable=False)[-1]
    note(store, RunId(2, "other"), fork.found, manifest)
    assert done_before(store, ForkSource.parse(again), "other") == f"00002-other/from-{RUN}@20.json"
    with pytest.raises(Conflict):
        note(store, RunId(2, "other"), fork.found, manifest)


def test_other_steps_and_other_runs_were_not_done(store: MemoryStore) -> None:
    store.create(f"00002-other/from-{RUN}@20.json", b"{}")
    store.create("00002-other/from-nonsense.json", b"{}")
    for text in ("digits@21", "00003-digits@20", "igits@20", "other@20"):
        assert done_before(store, ForkSource.parse(text), "other") is None
    assert done_before(store, SOURCE, "nobody") is None


def test_the_same_command_does_it_once_though_the_name_has_a_newer_run_by_now(store: MemoryStore) -> None:
    store.create(f"00002-other/from-{RUN}@20.json", b"{}")
    store.create("00003-digits/run.json", b"{}")
    assert done_before(store, SOURCE, "other") is not None


def test_a_mark_of_an_early_version_counts(store: MemoryStore) -> None:
    store.create("00002-other/from-digits@20.json", b"{}")
    assert done_before(store, SOURCE, "other") == "00002-other/from-digits@20.json"


def test_where_a_step_was_saved_twice_a_whole_pair_is_taken(store: MemoryStore, theirs: Spool, scratch: Path) -> None:
    older = CheckpointName(2, 20, "0.5000", 1, 1)
    for name in (older, name_of(2)):
        save_pair(theirs, name)
        store_pair(store, theirs, name)
    store.objects[f"{RUN}/{name_of(2).file('h5')}"] = b"rot"
    assert forked(store, scratch).manifest.name == older


def test_what_a_killed_process_fetched_is_not_fetched_again(store: MemoryStore, theirs: Spool, tmp_path: Path) -> None:
    store_only(store, theirs, name_of(2))
    found = locate(store, SOURCE)
    with waiting_room(tmp_path / "work", found, "other") as room:
        fetch(store, SOURCE, found, room)
        left = {path.name: path.read_bytes() for path in room.path.iterdir()}
    assert list((tmp_path / "work").iterdir()) == []
    room.path.mkdir()
    for name, data in left.items():
        room.file(name).write_bytes(data)
    store.reads.clear()
    with waiting_room(tmp_path / "work", found, "other") as room:
        fetch(store, SOURCE, found, room)
    assert store.reads == [f"{RUN}/{name_of(2).file('json')}"]


@pytest.mark.parametrize("part", PARTS)
def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    store: MemoryStore, theirs: Spool, scratch: Path, part: str
) -> None:
    store_only(store, theirs, name_of(2))
    key = f"{RUN}/{name_of(2).file(part)}"
    store.objects[key] = b"x" * 100_000
    store.reads.clear()
    with pytest.raises(SettingsError, match=rf"its \.{part} has 100000 bytes where its manifest says"):
        forked(store, scratch)
    assert key not in store.reads
    assert list(scratch.iterdir()) == []


def test_a_checkpoint_whose_loss_is_not_finite_is_no_source(store: MemoryStore, theirs: Spool) -> None:
    store_only(store, theirs, name_of(2, loss=float("nan")))
    with pytest.raises(SettingsError, match="not finite"):
        locate(store, SOURCE)


def test_a_step_of_too_many_digits_is_called_so() -> None:
    with pytest.raises(SettingsError, match=r"--from 'digits@1{24}': a step has 15 digits at most, and this one 24"):
        ForkSource.parse("digits@" + "1" * 24)


@pytest.mark.parametrize(
    "text", ["", "digits", "@5", "digits@", "digits@x", "digits@-1", "../x@1", "digits@1.5", "digits@\u0663"]
)
def test_a_source_that_cannot_be_is_a_settings_error(text: str) -> None:
    with pytest.raises(SettingsError, match="--from"):
        ForkSource.parse(text)


def test_what_the_checkpoint_needs_comes_along_before_it_under_names_of_this_run(
    store: MemoryStore, theirs: Spool, ours: Spool, scratch: Path
) -> None:
    gone = name_of(3)
    store_only(store, theirs, name_of(1))
    store_only(store, theirs, name_of(2), needs=(gone, name_of(1)))
    first, newest = adopt(forked(store, scratch), ours, incarnation=3, save=9, durable=False)
    assert [one.name for one in (first, newest)] == [
        replace(name_of(1), incarnation=3, save=9),
        replace(name_of(2), incarnation=3, save=10),
    ]
    assert newest.needs == (replace(gone, incarnation=0), first.name), "each at the place that the .pkl tells"
    assert ours.file(first.name.file("h5")).read_bytes() == content_of(name_of(1), "h5")
    for one in (first, newest):
        ours.verify(ours.manifest(one.name))

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fakes.pairs import content_of, name_of, save_pair, store_only
from fakes.stores import MemoryStore
from holdfast.core.errors import Conflict, SettingsError
from holdfast.core.manifest import PARTS, CheckpointName
from holdfast.core.runs import RunId
from holdfast.spool import Spool
from holdfast.supervisor.commit import store_pair
from holdfast.supervisor.fork import Found, Source, adopt, locate, note

RUN = "00001-digits"
SOURCE = Source("digits", 20)


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


def found(store: MemoryStore) -> Found:
    where = locate(store, SOURCE, "other")
    assert where is not None
    return where


def test_the_checkpoint_becomes_the_newest_of_the_run_and_keeps_what_it_holds(
    store: MemoryStore, theirs: Spool, ours: Spool
) -> None:
    store_only(store, theirs, name_of(2))
    manifest = adopt(store, ours, SOURCE, found(store), incarnation=3, save=9)
    assert manifest.name == replace(name_of(2), incarnation=3, save=9)
    assert (manifest.run, manifest.reason) == ("00002-other", f"from {RUN}@20")
    ours.verify(ours.manifest(manifest.name))
    assert ours.file(manifest.name.file("h5")).read_bytes() == content_of(name_of(2), "h5")
    store_pair(store, ours, manifest.name)


def test_it_is_done_once(store: MemoryStore, theirs: Spool, ours: Spool) -> None:
    store_only(store, theirs, name_of(2))
    manifest = adopt(store, ours, SOURCE, found(store), 3, 9)
    note(store, RunId(2, "other"), SOURCE, manifest)
    store.create("00002-other/run.json", b"{}")
    assert locate(store, SOURCE, "other") is None
    with pytest.raises(Conflict):
        note(store, RunId(2, "other"), SOURCE, manifest)


def test_where_a_step_was_saved_twice_a_whole_pair_is_taken(store: MemoryStore, theirs: Spool, ours: Spool) -> None:
    older = CheckpointName(2, 20, "0.5000", 1, 1)
    for name in (older, name_of(2)):
        save_pair(theirs, name)
        store_pair(store, theirs, name)
    store.objects[f"{RUN}/{name_of(2).file('h5')}"] = b"rot"
    adopted = adopt(store, ours, SOURCE, found(store), 3, 9)
    assert ours.file(adopted.name.file("h5")).read_bytes() == content_of(older, "h5")


@pytest.mark.parametrize("part", PARTS)
def test_a_file_of_another_size_is_refused_before_it_is_fetched(
    store: MemoryStore, theirs: Spool, ours: Spool, part: str
) -> None:
    store_only(store, theirs, name_of(2))
    key = f"{RUN}/{name_of(2).file(part)}"
    store.objects[key] = b"x" * 100_000
    where = found(store)
    store.reads.clear()
    with pytest.raises(SettingsError, match=rf"its \.{part} has 100000 bytes where its manifest says"):
        adopt(store, ours, SOURCE, where, 3, 9)
    assert key not in store.reads
    assert ours.pairs() == []


def test_a_checkpoint_whose_loss_is_not_finite_is_no_source(store: MemoryStore, theirs: Spool) -> None:
    store_only(store, theirs, name_of(2, loss=float("nan")))
    with pytest.raises(SettingsError, match="not finite"):
        locate(store, SOURCE, "other")


@pytest.mark.parametrize("text", ["", "digits", "@5", "digits@", "digits@x", "digits@-1", "../x@1", "digits@1.5"])
def test_a_source_that_cannot_be_is_a_settings_error(text: str) -> None:
    with pytest.raises(SettingsError, match="--from"):
        Source.parse(text)

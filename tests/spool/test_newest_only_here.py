from __future__ import annotations

from pathlib import Path

import pytest

from fakes.pairs import name_of, save_pair, store_only
from fakes.stores import MemoryStore
from holdfast.spool import Spool, only_here
from holdfast.supervisor.restore.candidates import bring_newest, candidates

RUN = "00001-digits"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / RUN)


@pytest.mark.parametrize("name", ["digits", RUN])
def test_a_newest_pair_that_was_never_stored_is_on_this_machine_alone(spool: Spool, name: str) -> None:
    for save in (1, 2):
        save_pair(spool, name_of(save))
    spool.mark_stored(name_of(1))
    assert only_here(spool.path.parent, name) == spool.path / str(name_of(2))


def test_what_is_older_than_a_stored_pair_is_no_last_state(spool: Spool) -> None:
    for save in (1, 2):
        save_pair(spool, name_of(save))
    spool.mark_stored(name_of(2))
    assert only_here(spool.path.parent, "digits") is None


def test_a_pair_that_was_brought_from_the_store_is_in_the_store(spool: Spool) -> None:
    store = MemoryStore()
    store_only(store, spool, name_of(3))
    assert bring_newest(store, spool, candidates(store, spool), lambda text: None) is not None
    assert only_here(spool.path.parent, "digits") is None


def test_a_pair_that_no_training_can_use_counts_for_nothing(spool: Spool) -> None:
    save_pair(spool, name_of(1))
    spool.mark_stored(name_of(1))
    save_pair(spool, name_of(2, loss=float("nan")))
    assert only_here(spool.path.parent, "digits") is None


def test_the_newest_run_of_the_name_is_meant(spool: Spool, tmp_path: Path) -> None:
    save_pair(spool, name_of(1))
    Spool(tmp_path / "00002-digits")
    assert only_here(tmp_path, "digits") is None
    assert only_here(tmp_path, RUN) is not None
    assert only_here(tmp_path, "other") is None
    assert only_here(tmp_path / "nowhere", "digits") is None

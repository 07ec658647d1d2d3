from __future__ import annotations

from pathlib import Path

import pytest

from fakes.pairs import name_of, save_pair
from fakes.stored import Run
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import Transient
from holdfast.spool import Spool
from holdfast.store.catalog import is_complete, list_pairs
from holdfast.supervisor.restore.reopen import Reopened
from holdfast.supervisor.upload.store_pair import store_pair


@pytest.fixture
def run(scratch: Path) -> Run:
    run = Run(MemoryStore(), scratch)
    run.pairs(1)
    run.finish()
    return run


@pytest.fixture
def spool(tmp_path: Path, run: Run) -> Spool:
    spool = Spool(tmp_path / str(run.id))
    for save in (1, 2):
        save_pair(spool, name_of(save))
    return spool


def test_a_run_is_complete_until_it_has_a_new_pair(run: Run, spool: Spool) -> None:
    store = Reopened(run.store, run.id)
    store_pair(store, spool, name_of(1))  # it has it
    store.create(f"{run.id}/from-x.json", b"{}")
    assert is_complete(store, run.id)
    store_pair(store, spool, name_of(2))
    assert not is_complete(store, run.id)


def test_it_is_marked_as_complete_again_at_its_new_end(run: Run, spool: Spool) -> None:
    store = Reopened(run.store, run.id)
    store_pair(store, spool, name_of(2))
    run.finish()
    save_pair(spool, name_of(3))
    store_pair(store, spool, name_of(3))
    assert is_complete(store, run.id)


@pytest.mark.parametrize("operation", ["put", "delete", "create"])
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_never_leaves_a_complete_run_with_newer_pairs(
    run: Run, spool: Spool, operation: str, after: bool
) -> None:
    flaky = FlakyStore(run.store).fail(operation, Transient("away"), after=after)
    store = Reopened(flaky, run.id)
    with pytest.raises(Transient):
        store_pair(store, spool, name_of(2))
    assert not (is_complete(run.store, run.id) and name_of(2) in list_pairs(run.store, str(run.id)))
    store_pair(store, spool, name_of(2))
    assert not is_complete(run.store, run.id)

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from fakes.stored import Run
from fakes.stores import FlakyStore, MemoryStore
from fakes.told import BEGAN, Told
from holdfast.core.errors import Transient
from holdfast.core.view import Earlier
from holdfast.supervisor.restore.earlier_starts import earlier_starts


def test_the_batches_of_all_earlier_starts_are_counted(memory: MemoryStore, tmp_path: Path) -> None:
    told = Told(Run(memory, tmp_path / "spool"), tmp_path)
    told.interrupted(150)
    told.killed(170)
    told.interrupted(130)
    run = str(told.run.id)
    assert counts(earlier_starts(memory, run, 4, 430)) == (3, told.account.executed, 0, 3)
    assert counts(earlier_starts(memory, run, 2, 150)) == (1, 150, 0, 1)
    assert earlier_starts(memory, run, 1, 0) == Earlier(0, 0, 0)


def counts(earlier: Earlier | None) -> tuple[int, int, int, int]:
    assert earlier is not None
    return earlier.starts, earlier.executed, earlier.base, earlier.interruptions


def test_what_the_last_of_them_lost_is_redone_by_this_start(memory: MemoryStore, tmp_path: Path) -> None:
    told = Told(Run(memory, tmp_path / "spool"), tmp_path)
    told.interrupted(150)
    told.killed(170)  # to step 320; step 300 was stored
    earlier = earlier_starts(memory, str(told.run.id), 3, 300)
    assert earlier is not None
    assert earlier.seconds["redone"] == pytest.approx(20 * 0.5)
    assert earlier.seconds["productive"] == pytest.approx(300 * 0.5)
    assert earlier.seconds["validation"] == pytest.approx(3 * 3)
    assert (earlier.began, earlier.ended) == (BEGAN.timestamp(), (told.now - timedelta(seconds=60)).timestamp())


def test_where_the_store_fails_nothing_is_known(store: FlakyStore) -> None:
    store.fail("list", Transient("away"))
    assert earlier_starts(store, "00001-digits", 2, 0) is None

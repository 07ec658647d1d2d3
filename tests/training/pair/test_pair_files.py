"""A pair and the disk that it is written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import pytest

from fakes.disks import SmallDisk
from holdfast.core.errors import InvalidPair
from holdfast.spool import Spool, record_of
from holdfast.training.pair import pair_files
from holdfast.training.pair.pair_files import Draft, Position, Written
from holdfast.training.session.base import Session

MIB = 1 << 20


def empty_h5(path: Path, most_dirty: int | None, over: Path | None = None) -> Written:
    h5py.File(path, "w").close()
    return Written("arrays", {}, record_of(path))


def test_older_pairs_make_room_for_what_stands_in_the_pkl_too(tmp_path: Path) -> None:
    """The best weights of an EarlyStopping, say, which are as large as the model's own."""
    disk = SmallDisk(tmp_path / "00001-x", 8 * MIB)
    session = Session(disk, 1, 1, None, durable=False)
    facts = {"callbacks": [{"class": "EarlyStopping", "state": {"best_weights": [("~array", bytes(2 * MIB))]}}]}
    for step in range(1, 6):
        manifest = pair_files.write(session, Draft(Position(0, step, step), "interval", {}, {}, facts, empty_h5))
        disk.mark_stored(manifest.name)
        assert disk.free() >= 0
    assert [name.step for name in disk.pairs()] == [5, 4, 3]


@pytest.mark.parametrize(
    ("position", "metrics"),
    [
        (Position(0, 1, 10**15), {}),
        (Position(-1, 1, 1), {}),
        (Position(0, -1, 1), {}),
        (Position(0, 1, 1), {f"the_metric_of_layer_{i}": 1.0 for i in range(40_000)}),
    ],
    ids=["step", "epoch", "batch", "manifest"],
)
def test_a_pair_that_no_start_would_take_is_not_stored(
    tmp_path: Path, position: Position, metrics: Mapping[str, float]
) -> None:
    """It would be passed over, or not even be found, while it takes the place of one that is good."""
    session = Session(Spool(tmp_path / "00001-x"), 1, 1, None, durable=False)
    with pytest.raises((ValueError, InvalidPair)):
        pair_files.write(session, Draft(position, "interval", metrics, {}, {}, empty_h5))
    assert list(session.spool.path.glob("model-*")) == []

"""Two trainings are the same if each of their fits ended the same."""

from __future__ import annotations

from dataclasses import replace
from math import isnan, nan
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from fakes.pairs import name_of, save_pair
from holdfast.core import restricted_pickle
from holdfast.core.errors import HoldfastError
from holdfast.drill.compare_runs import DataCompared, Difference, compare_runs
from holdfast.spool import Spool, record_of
from holdfast.store.directory import DirectoryStore
from holdfast.supervisor.upload.store_pair import store_pair
from holdfast.training.pair.plain import pack

RUN = "00001-drill"


class Training:
    """A store that a training's pairs are put into, one after the other."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.store = DirectoryStore(folder / "store")
        self._spool = Spool(folder / RUN)
        self._save = 0

    def pair(
        self,
        weights: list[float],
        fit: int | None = 0,
        own_data: bool = True,
        path: str = "dense/kernel",
        digests: list[list[Any]] | None = None,
        not_kept: tuple[str, ...] = (),
        **history: list[Any],
    ) -> None:
        self._save += 1
        name = name_of(self._save)
        value = pack(np.array(weights, "float32"))
        document = {
            "format": 1,
            "position": {"epoch": name.epoch, "batch": 0, "step": name.step},
            "variables": [{"group": "model", "index": 0, "path": path, "value": value}],
        }
        if fit is not None:
            state = {"epoch": [0, 1], "history": history}
            data = {"pass": 0, "batches": 4} if own_data else None
            document |= {"fit": fit, "data": data, "callbacks": [{"class": "History", "state": state}]}
            document |= {"digests": digests or [], "not_kept": list(not_kept)}
        else:
            document |= {"values": None}
        manifest = save_pair(self._spool, name)
        self._spool.file(name.file("pkl")).write_bytes(restricted_pickle.dumps(document))
        h5py.File(self._spool.file(name.file("h5")), "w").close()
        files = {part: record_of(self._spool.file(name.file(part))) for part in manifest.files}
        self._spool.commit(replace(manifest, files=files), durable=False)
        store_pair(self.store, self._spool, name)


@pytest.fixture
def trainings(tmp_path: Path) -> tuple[Training, Training]:
    return Training(tmp_path / "a"), Training(tmp_path / "b")


def test_equal_ends_are_the_same_whatever_came_before(trainings: tuple[Training, Training]) -> None:
    a, b = trainings
    a.pair([1, 2], loss=[0.5])
    a.pair([3, nan], loss=[0.5, nan])
    b.pair([3, nan], loss=[0.5, nan])
    found = compare_runs(a.store, b.store, RUN)
    assert found.same
    assert (found.fits, found.arrays) == (1, 1)


@pytest.mark.parametrize(
    ("path", "same"),
    [("dense_12/kernel", True), ("dense/kernel", True), ("dense_2/bias", False), ("conv/kernel", False)],
)
def test_the_number_of_a_variables_layer_is_no_difference(
    trainings: tuple[Training, Training], path: str, same: bool
) -> None:
    a, b = trainings
    a.pair([1, 2], path="dense_3/kernel")
    b.pair([1, 2], path=path)
    assert compare_runs(a.store, b.store, RUN).same is same


def test_an_earlier_fit_that_ended_otherwise_is_a_difference(trainings: tuple[Training, Training]) -> None:
    a, b = trainings
    for training, first in zip(trainings, (1.0, 1.5), strict=True):
        training.pair([9.0, 9.0], fit=0)
        training.pair([first, 2.0], fit=0, loss=[first])
        training.pair([7.0, 7.0], fit=1, loss=[0.1])
    found = compare_runs(a.store, b.store, RUN)
    assert found.differences == [Difference("fit 1: model[0] dense/kernel", 0.5)]
    assert found.histories == ["fit 1: history of loss"]
    assert found.fits == 2


def test_a_fit_that_only_one_of_them_has_is_a_difference(trainings: tuple[Training, Training]) -> None:
    a, b = trainings
    a.pair([1.0], fit=0)
    a.pair([1.0], fit=1)
    b.pair([1.0], fit=0)
    (found,) = compare_runs(a.store, b.store, RUN).differences
    assert found.path.startswith("fit 2: ")
    assert isnan(found.largest)


def test_a_loop_of_the_scripts_own_is_compared_by_its_last_state(trainings: tuple[Training, Training]) -> None:
    a, b = trainings
    for training in trainings:
        training.pair([1.0], fit=None)
    found = compare_runs(a.store, b.store, RUN)
    assert found.same
    assert found.data == DataCompared(0, "", exact=True)


def test_a_history_that_differs_in_its_last_bit_is_named(trainings: tuple[Training, Training]) -> None:
    a, b = trainings
    a.pair([1.0], loss=[0.1], accuracy=[1.0])
    b.pair([1.0], loss=[np.nextafter(0.1, 1).item()], accuracy=[1.0])
    found = compare_runs(a.store, b.store, RUN)
    assert found.histories == ["history of loss"]
    assert not found.differences


def test_a_training_that_stored_nothing_is_asked_for_resume(trainings: tuple[Training, Training]) -> None:
    a, b = trainings
    a.pair([1.0])
    with pytest.raises(HoldfastError, match=r"does the script use holdfast\.Resume"):
        compare_runs(a.store, b.store, RUN)


def test_batches_that_are_the_same_in_both_are_no_cause(trainings: tuple[Training, Training]) -> None:
    a, b = trainings
    a.pair([1.0], own_data=False, digests=[[0, 0, "x"], [0, 1, "y"]])
    b.pair([1.0], own_data=False, digests=[[0, 0, "x"]])
    b.pair([2.0], own_data=False, digests=[[0, 0, "x"], [0, 1, "y"], [1, 0, "z"]])
    assert compare_runs(a.store, b.store, RUN).data == DataCompared(2, "", exact=False)


def test_a_batch_that_any_of_the_pairs_saw_otherwise_is_named(trainings: tuple[Training, Training]) -> None:
    a, b = trainings
    for training in trainings:
        training.pair([1.0], own_data=False, digests=[[0, 0, "x"], [1, 2, "y"]])
    b.pair([2.0], own_data=False, digests=[[0, 0, "x"], [1, 2, "other"]])
    assert compare_runs(a.store, b.store, RUN).data == DataCompared(2, "batch 3 of epoch 2", exact=False)


def test_with_several_fits_a_batch_is_named_with_its_fit(trainings: tuple[Training, Training]) -> None:
    a, b = trainings
    for number, training in enumerate(trainings):
        training.pair([1.0], fit=0, own_data=False, digests=[[0, 0, "x"]])
        training.pair([1.0], fit=1, own_data=False, digests=[[0, 0, str(number)]])
    assert compare_runs(a.store, b.store, RUN).data.other == "batch 1 of epoch 1 of fit 2"


def test_what_some_checkpoint_lacks_is_named_though_the_ends_are_the_same(trainings: tuple[Training, Training]) -> None:
    a, b = trainings
    a.pair([1, 2])
    b.pair([0, 0], not_kept=("Mine.phase", "Mine.last"))
    b.pair([1, 2], not_kept=("Mine.phase",))
    found = compare_runs(a.store, b.store, RUN)
    assert (found.same, found.not_kept) == (True, ["Mine.last", "Mine.phase"])

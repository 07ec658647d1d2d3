"""A PyDataset continues exactly; where it cannot, that is said. The conformance suite has its kinds too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pytest

from holdfast.core.errors import HoldfastError
from holdfast.training.pair.plain import pack

from ...edited import edit_newest
from ...restarts import Script, assert_same, interrupted, once
from ..conformance import BATCHES
from . import kinds

SEVERAL = "its workers make several at once"
AHEAD = "while Keras reads on ahead"


def train(make: Callable[[], Any], **fit: Any) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
        return model, model.fit(make(), callbacks=callbacks, **{"epochs": 3, "verbose": 0, **fit})

    return run


def check(script: Script, tmp_path: Path, *stops: tuple[int, int]) -> None:
    undisturbed = once(script, tmp_path / "undisturbed")
    assert_same(interrupted(script, tmp_path / "stopped", *stops), undisturbed)


def test_one_that_shuffles_its_index_continues_exactly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check(train(kinds.ShufflesItsIndex), tmp_path, (0, 3), (2, 0))
    assert "batches:" not in capfd.readouterr().err


class Counts(kinds.ShufflesItsIndex):
    made: ClassVar[list[int]] = []

    def __getitem__(self, index: int) -> Any:
        self.made.append(index)
        return super().__getitem__(index)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.whole)])
def test_batches_that_are_done_are_not_made_again(tmp_path: Path, workers: int) -> None:
    script = train(lambda: Counts(workers=workers), epochs=1, shuffle=False)
    once(script, tmp_path, (0, BATCHES - 3))
    Counts.made.clear()
    once(script, tmp_path)
    looked_at = [0, 1]  # by Keras, for their shapes
    assert sorted(Counts.made) == [*looked_at, BATCHES - 2, BATCHES - 1]


class DrawsInWorkers(kinds.InOrder):
    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x + np.random.normal(size=x.shape), y


@pytest.mark.whole
@pytest.mark.parametrize(
    ("make", "processes"),
    [(DrawsInWorkers, False), (DrawsInWorkers, True), (kinds.drawing_from_its_module, False)],
)
def test_workers_that_draw_from_one_generator_are_named(
    tmp_path: Path, make: Callable[..., Any], processes: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    interrupted(train(lambda: make(workers=2, use_multiprocessing=processes)), tmp_path, (1, 2))
    assert capfd.readouterr().err.count(SEVERAL) == 2


@pytest.mark.whole
def test_one_that_changes_while_keras_reads_on_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    interrupted(train(kinds.ShufflesItsIndex, steps_per_epoch=BATCHES - 2), tmp_path, (1, 1))
    assert capfd.readouterr().err.count(AHEAD) == 2


class Raises(kinds.ShufflesItsIndex):
    def get_state(self) -> Any:
        raise RuntimeError("no state today")

    def set_state(self, state: Any) -> None: ...


@pytest.mark.whole
def test_one_that_raises_in_get_state_costs_a_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check(train(Raises), tmp_path, (0, 3))
    assert "Raises has no state: its get_state() raised RuntimeError: no state today" in capfd.readouterr().err


def test_one_that_served_a_fit_that_is_over_serves_the_next_one_as_it_would_have(tmp_path: Path) -> None:
    def run(directory: Path) -> Any:
        def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
            data, held_out = kinds.Augments(), kinds.Augments()
            train(lambda: data, epochs=2, validation_data=held_out)(callbacks[2:])
            copy = directory.with_name(f"{directory.name}-killed")  # the disk, if it were killed here
            shutil.copytree(directory, copy)
            return train(lambda: data, epochs=1, validation_data=held_out)(callbacks)

        return once(script, directory)

    undisturbed = run(tmp_path / "runs")
    assert_same(run(tmp_path / "runs-killed"), undisturbed)


class Refuses(kinds.TellsItsState):
    refuses = False

    def set_state(self, state: Any) -> None:
        if self.refuses:
            raise ValueError("another one")
        super().set_state(state)


def test_a_pair_whose_state_is_refused_as_the_epoch_begins_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script = train(kinds.InOrder, validation_data=Refuses())
    once(script, tmp_path, (1, 2))
    monkeypatch.setattr(Refuses, "refuses", True)
    with pytest.raises(HoldfastError):
        once(script, tmp_path)
    assert "passed over: Refuses.set_state() raised ValueError: another one" in capfd.readouterr().err


MALFORMED: dict[str, Callable[[Any], None]] = {
    "a generator": lambda saved: saved["drawn"].update({"Augments.mine": {"~random": {"bit_generator": "PCG64"}}}),
    "no generator": lambda saved: saved["drawn"].update({"Augments.mine": 3}),
    "an order": lambda saved: saved["object"]["Augments.index"].update({"~order": 7}),
    "random states": lambda saved: saved["random"].update({"python": None}),
    "a shuffled order": lambda saved: saved.update({"shuffled": (3, (1,), None)}),
    "no part": lambda saved: saved.update({"drawn": 3}),
}


class RefusesAnother(kinds.TellsItsState):
    def set_state(self, state: Any) -> None:
        if len(state["index"]) != len(self.index):
            raise ValueError("another one")
        super().set_state(state)


def test_a_pair_whose_state_within_the_epoch_is_refused_by_the_dataset_is_passed_over_for_an_older_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What making batches changed is set when all batches that are done were dropped: too late for another pair."""
    script = train(RefusesAnother)
    undisturbed = once(script, tmp_path / "undisturbed")
    once(script, tmp_path / "stopped", (1, 3))
    shorter = pack(np.arange(3))
    newest = edit_newest(
        tmp_path / "stopped", lambda facts: facts["py_dataset"]["drawn"]["told"].update({"index": shorter})
    )
    assert_same(once(script, tmp_path / "stopped"), undisturbed)
    assert f"{newest}: passed over: RefusesAnother.set_state() raised ValueError: another one" in capfd.readouterr().err


@pytest.mark.parametrize(
    "what", [what if what == "a generator" else pytest.param(what, marks=pytest.mark.whole) for what in MALFORMED]
)
def test_a_pair_whose_state_of_the_data_is_malformed_is_passed_over_for_an_older_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], what: str
) -> None:
    script = train(kinds.Augments)
    undisturbed = once(script, tmp_path / "undisturbed")
    once(script, tmp_path / "stopped", (1, 3))
    newest = edit_newest(tmp_path / "stopped", lambda facts: MALFORMED[what](facts["py_dataset"]))
    assert_same(once(script, tmp_path / "stopped"), undisturbed)
    assert f"{newest}: passed over" in capfd.readouterr().err

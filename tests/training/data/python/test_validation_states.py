"""The first validation of a resumed training leaves the global random states to whoever draws from them."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from holdfast.training.data.python.validation import PythonValidation

from . import kinds

HAPPENED = {"validation": {"happened": True, "object": {}}}
BOTH = "both fed by Python"


class ArrayDataAdapter:
    def on_epoch_end(self) -> None: ...


class PyDatasetAdapter(ArrayDataAdapter): ...


class Data:
    """As much of Keras' iterator as is looked at."""

    def __init__(self, adapter: Any, steps_per_epoch: int | None = None) -> None:
        self.data_adapter = adapter
        self.steps_per_epoch = steps_per_epoch

    def reset(self) -> None: ...


def drawn_after(training: Data, held_out: Data, said: list[str], given: Any = None) -> float:
    """The first number after a resumed training's first validation began, one having been drawn just before."""
    validation = PythonValidation(given, training, said.append)
    validation.restore(HAPPENED)
    np.random.seed(3)
    training.data_adapter.on_epoch_end()
    np.random.random()
    validation.begin(held_out)
    found = float(np.random.random())
    validation.end()
    return found


FIRST, SECOND = np.random.RandomState(3).random(2)


class Loader:
    """As much of PyTorch's as is looked at: one number is drawn from its generator for each pass."""

    __module__ = "torch.utils.data.dataloader"

    def __init__(self) -> None:
        self.drawn = 0
        self.generator = self
        self.sampler = object()
        self.dataset: Any = SimpleNamespace()

    def get_state(self) -> Any:
        return SimpleNamespace(numpy=lambda: np.array([self.drawn], "uint8"))

    def set_state(self, state: Any) -> None:
        self.drawn = int(state[0])


def with_loader(loader: Loader, said: list[str], training: Any = None) -> PythonValidation:
    return PythonValidation(loader, Data(ArrayDataAdapter()), said.append, training)


def test_the_generator_of_a_loader_goes_on_where_the_last_validation_left_it(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    played: Any = SimpleNamespace(frombuffer=lambda data, dtype: np.frombuffer(data, dtype), uint8=np.uint8)
    monkeypatch.setitem(sys.modules, "torch", played)
    before, after = Loader(), Loader()
    validation = with_loader(before, said)
    validation.begin(Data(PyDatasetAdapter()))
    before.drawn = 7
    validation.end()
    resumed = with_loader(after, said)
    resumed.check(validation.facts())
    assert after.drawn == 0
    resumed.restore(validation.facts())
    assert after.drawn == 7
    assert said == ["the DataLoader has a sampler of the script's own (object): " + said[0].partition("): ")[2]] * 2


def test_the_dataset_of_a_loader_goes_on_where_the_last_validation_left_it(said: list[str]) -> None:
    before, after = Loader(), Loader()
    before.generator = after.generator = None  # type: ignore[assignment]
    before.dataset, after.dataset = kinds.Augments(), kinds.Augments()
    validation = with_loader(before, said)
    validation.begin(Data(PyDatasetAdapter()))
    before.dataset.mine.random()
    validation.end()
    with_loader(after, said).restore(validation.facts())
    assert after.dataset.mine.random() == before.dataset.mine.random()


def test_a_generator_that_training_and_validation_share_is_left_as_the_training_left_it(said: list[str]) -> None:
    training, held_out = kinds.Augments(), kinds.Augments()
    held_out.mine = training.mine
    data = Data(PyDatasetAdapter())
    validation = PythonValidation(held_out, data, said.append, training)
    validation.restore(HAPPENED)
    training.mine.random()  # in the epoch
    expected = training.mine.bit_generator.state
    data.data_adapter.on_epoch_end()
    held_out.mine.random()  # Keras looks at the first batches
    validation.begin(Data(PyDatasetAdapter()))
    assert held_out.mine.bit_generator.state == expected


def test_a_generator_that_the_training_draws_from_too_is_named(said: list[str]) -> None:
    loader = Loader()
    assert with_loader(loader, said, SimpleNamespace(generator=loader)).facts()["validation"]["object"] == {
        "generators": [],
        "dataset": {},
    }
    assert "draw from one torch.Generator" in said[0]


def test_validation_in_arrays_does_not_rewind_what_the_training_data_draws_ahead(said: list[str]) -> None:
    assert drawn_after(Data(PyDatasetAdapter(), 5), Data(ArrayDataAdapter()), said) == SECOND
    assert said == []


def test_validation_that_python_feeds_begins_with_the_states_before_keras_looked_at_it(said: list[str]) -> None:
    assert drawn_after(Data(ArrayDataAdapter(), 5), Data(PyDatasetAdapter()), said, kinds.InOrder()) == FIRST
    assert drawn_after(Data(PyDatasetAdapter()), Data(PyDatasetAdapter()), said, kinds.InOrder()) == FIRST
    assert said == []


def test_draws_during_validation_are_named_where_tensorflow_reads_on(said: list[str]) -> None:
    assert drawn_after(Data(PyDatasetAdapter(), 5), Data(PyDatasetAdapter()), said, kinds.InOrder()) == SECOND
    assert len(said) == 1
    assert BOTH in said[0]


@pytest.fixture
def said() -> list[str]:
    return []

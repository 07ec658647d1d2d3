"""What a pair keeps of a PyDataset while TensorFlow draws ahead in it, or not yet."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from holdfast.training.data.python.batches import Batches
from holdfast.training.data.python.py_dataset import PyDatasetPosition
from holdfast.training.pair.plain import from_plain

from . import kinds

PATH = "Augments.mine"


class Adapter:
    """As much of Keras' own as is used."""

    def __init__(self, dataset: Any) -> None:
        self.py_dataset, self.enqueuer, self.shuffle = dataset, None, False

    def on_epoch_begin(self) -> None:
        self.py_dataset.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.py_dataset.on_epoch_end()

    def _finite_generator(self) -> Iterator[Any]:
        return (self.py_dataset[number] for number in range(self.py_dataset.num_batches))

    _infinite_generator = _finite_generator


def position_in(
    dataset: Any, steps: int | None = None, adapter: Adapter | None = None
) -> tuple[PyDatasetPosition, Any]:
    keras = SimpleNamespace(
        steps_per_epoch=steps,
        steps_per_execution=1,
        _steps_seen=0,
        _current_iterator=0,
        data_adapter=adapter or Adapter(dataset),
    )
    position = PyDatasetPosition(dataset, keras, lambda text: None)
    position.begin_epoch(0, within=False, facts=None)
    keras.data_adapter.on_epoch_begin()
    return position, keras


@pytest.mark.parametrize(("data", "names"), [(kinds.Augments, True), (kinds.ShufflesItsIndex, False)])
def test_a_batch_that_draws_is_named_under_a_strategy(data: Any, names: bool) -> None:
    """Before each fit Keras opens a pass and drops it: how far TensorFlow has drawn in it then is another each time."""
    said: list[str] = []
    adapter = Adapter(data())
    keras = SimpleNamespace(
        steps_per_epoch=None,
        steps_per_execution=1,
        _steps_seen=0,
        data_adapter=adapter,
        _distribute_strategy=SimpleNamespace(num_replicas_in_sync=2),
    )
    position = PyDatasetPosition(adapter.py_dataset, keras, said.append)
    position.begin_epoch(0, within=False, facts=None)
    made(adapter._finite_generator(), 2)
    position.facts(True, 1)
    assert position.exact is not names
    assert ["under a distribution strategy" in line for line in said] == [True] * names


def made(batches: Iterator[Any], count: int) -> None:
    list(itertools.islice(batches, count))


def mine(dataset: kinds.Augments) -> Any:
    return dataset.mine.bit_generator.state


def kept(position: PyDatasetPosition, done: int) -> Any:
    return position.facts(True, done)["py_dataset"]["drawn"][PATH]["~random"]


def numpy_of(states: Any) -> Any:
    return from_plain(states["numpy"])


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)


def test_its_generators_are_kept_as_they_are_if_the_next_draw_has_not_begun() -> None:
    data = kinds.Augments()
    position, keras = position_in(data)
    made(keras.data_adapter._finite_generator(), 2)
    assert kept(position, 2) == mine(data)


def test_in_validation_what_was_read_ahead_does_not_count_while_the_pass_goes_on() -> None:
    data = kinds.Augments()
    position, keras = position_in(data, steps=2)
    batches = keras.data_adapter._finite_generator()
    made(batches, 2)
    expected, expected_numpy = mine(data), np.random.get_state()
    made(batches, 2)
    keras.data_adapter.on_epoch_end()
    assert kept(position, 2) == expected
    assert same(numpy_of(position.random_state(True, 2)), expected_numpy)


def test_in_validation_after_a_whole_pass_the_states_are_those_before_the_epoch_end() -> None:
    data = kinds.Augments()
    position, keras = position_in(data)
    made(keras.data_adapter._finite_generator(), kinds.BATCHES + 1)
    np.random.random()  # of a callback
    expected = np.random.get_state()
    keras.data_adapter.on_epoch_end()
    assert same(numpy_of(position.random_state(True, kinds.BATCHES)), expected)


def test_as_a_later_epoch_of_a_pass_begins_what_was_read_ahead_does_not_count() -> None:
    position, keras = position_in(kinds.Augments(), steps=2)
    batches = keras.data_adapter._finite_generator()
    made(batches, 2)
    expected = np.random.get_state()
    made(batches, 2)
    keras._steps_seen = 2
    position.end_epoch()
    position.begin_epoch(0, within=False, facts=None)
    assert same(numpy_of(position.random_state(True, 0)), expected)


@pytest.mark.parametrize("workers", [None, SimpleNamespace(py_dataset=None, shuffle=True)])
def test_keras_own_objects_are_as_they_were_once_the_fit_is_over(workers: Any) -> None:
    adapter = Adapter(kinds.InOrder())
    adapter.enqueuer, adapter.shuffle = workers, True
    if workers is not None:
        workers.py_dataset = adapter.py_dataset
    before = [dict(vars(one)) for one in (adapter, workers) if one is not None]
    position, _ = position_in(adapter.py_dataset, adapter=adapter)
    position.begin_epoch(3, within=True, facts={**position.facts(True, 3)})
    position.release()
    assert [vars(one) for one in (adapter, workers) if one is not None] == before


class Torch(SimpleNamespace):
    """PyTorch, as far as its random state goes."""

    state = np.zeros(2, "uint8")

    def get_rng_state(self) -> Any:
        return SimpleNamespace(numpy=lambda: self.state)


class DrawsFromTorch(kinds.InOrder):
    def __getitem__(self, index: int) -> Any:
        sys.modules["torch"].state = np.full(2, index + 1, "uint8")  # type: ignore[attr-defined]
        return super().__getitem__(index)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Torch:
    monkeypatch.setitem(sys.modules, "torch", Torch())  # type: ignore[arg-type]
    return sys.modules["torch"]  # type: ignore[return-value]


def test_pytorchs_state_is_kept_as_it_was_before_the_draw(torch: Torch) -> None:
    position, keras = position_in(DrawsFromTorch())
    made(keras.data_adapter._finite_generator(), 4)
    assert position.random_state(True, 2)["torch"] == bytes([2, 2])


def test_a_batch_that_draws_from_pytorch_is_seen_to_draw(torch: Torch) -> None:
    drew = SimpleNamespace(value=0)
    Batches(DrawsFromTorch(), drew, [])[0]
    assert drew.value == 1

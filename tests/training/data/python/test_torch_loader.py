"""The generator that a PyTorch ``DataLoader`` was given. PyTorch is played here, as far as its loader draws."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from holdfast.core.errors import InvalidPair
from holdfast.training.data.python.iterable import IterablePosition
from holdfast.training.data.python.torch_loader import of_torch


class Generator:
    """Its numbers are 1, 2, 3, …"""

    def __init__(self) -> None:
        self.drawn = 0

    def draw(self) -> int:
        self.drawn += 1
        return self.drawn

    def get_state(self) -> Any:
        return SimpleNamespace(numpy=lambda: np.array([self.drawn], "uint8"))

    def set_state(self, state: Any) -> None:
        self.drawn = int(state[0])


class Loader:
    """Draws a seed as a pass begins, and a number for each batch."""

    def __init__(self, dataset: Any = None, **settings: Any) -> None:
        self.generator = Generator()
        self.sampler = SimpleNamespace(generator=self.generator)
        self.dataset = dataset
        vars(self).update(settings)

    def __iter__(self) -> Iterator[Any]:
        self.generator.draw()
        if self.dataset is not None:
            return iter(self.dataset)
        return (np.asarray([self.generator.draw()]) for _ in range(4))


class Noisy:
    """Draws from a generator of its own, and begins each pass with another number."""

    def __init__(self) -> None:
        self.chance = np.random.default_rng(0)
        self.passes = 0

    def __iter__(self) -> Iterator[Any]:
        self.passes += 1
        for _ in range(4):
            yield np.asarray([self.passes + self.chance.random()])


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    played = SimpleNamespace(frombuffer=lambda data, dtype: np.frombuffer(data, dtype), uint8=np.uint8)
    monkeypatch.setitem(sys.modules, "torch", played)  # type: ignore[arg-type]


def position_in(said: list[str], loader: Loader | None = None) -> tuple[IterablePosition, Any]:
    adapter = SimpleNamespace(_dataloader=None)
    keras = SimpleNamespace(steps_per_epoch=None, steps_per_execution=1, _steps_seen=0, data_adapter=adapter)
    return of_torch(loader or Loader(), keras, said.append), adapter


def values(batches: Any, count: int) -> list[int]:
    return [int(batch[0]) for batch in itertools.islice(batches, count)]


@pytest.mark.parametrize(
    ("within", "drawn", "done", "expected"),
    [(False, 4, 0, [7, 8]), (True, 4, 2, [4, 5]), (True, 3, 0, [2, 3]), (True, 0, 0, [2, 3])],
    ids=["between two passes", "in a pass", "at its beginning", "before it is opened"],
)
def test_its_generator_goes_on_where_it_was(within: bool, drawn: int, done: int, expected: list[int]) -> None:
    first, adapter = position_in([])
    first.begin_epoch(0, within=False, facts=None)
    if drawn:
        values(iter(adapter._dataloader), drawn)
    facts = first.facts(within, done)
    second, adapter = position_in([])
    second.restore(facts)
    second.begin_epoch(done, within=within, facts=facts)
    assert values(iter(adapter._dataloader), 2) == expected


@pytest.mark.parametrize(("within", "done"), [(False, 0), (True, 2), (True, 0)])
def test_what_its_dataset_draws_and_counts_goes_on_where_it_was(within: bool, done: int) -> None:
    first, adapter = position_in([], Loader(Noisy()))
    first.begin_epoch(0, within=False, facts=None)
    list(iter(adapter._dataloader))
    before = first.facts(False, 0)
    first.begin_epoch(0, within=False, facts=None)
    made = list(iter(adapter._dataloader))
    facts, expected = first.facts(True, done) if within and done else before, made[done:]
    second, adapter = position_in([], Loader(Noisy()))
    second.restore(facts)
    second.begin_epoch(done, within=within, facts=facts)
    assert list(iter(adapter._dataloader)) == expected


def test_a_later_fit_with_the_same_loader_begins_where_the_one_before_left_its_dataset() -> None:
    first, adapter = position_in([], Loader(Noisy()))
    first.begin_epoch(0, within=False, facts=None)
    list(iter(adapter._dataloader))
    facts, data = first.facts(False, 0), Noisy()
    position_in([], Loader(data))[0].restore(facts)
    assert list(iter(data)) == list(iter(adapter._dataloader))


def test_workers_that_live_on_are_named() -> None:
    said: list[str] = []
    position_in(said, Loader(Noisy(), num_workers=2, persistent_workers=True))
    assert said[-1].startswith("the DataLoader's workers live on from one epoch to the next")


def test_a_sampler_of_the_scripts_own_is_named() -> None:
    said: list[str] = []
    position_in(said)
    assert said[0].startswith("the DataLoader has a sampler of the script's own (SimpleNamespace)")


def test_a_malformed_state_is_refused_as_the_pair_is_read() -> None:
    position, adapter = position_in([])
    facts = position.facts(False, 0)
    position.check(facts)
    facts["iterable"]["own"] = [3.5]
    with pytest.raises(InvalidPair, match="malformed"):
        position.check(facts)
    assert values(iter(adapter._dataloader), 1) == [2]
    position, _ = position_in([], Loader(Noisy()))
    facts = position.facts(False, 0)
    facts["iterable"]["dataset"]["Noisy.chance"] = 3
    with pytest.raises(InvalidPair, match=r"Noisy.chance is malformed"):
        position.check(facts)


def test_keras_has_the_loader_again_once_the_fit_is_over() -> None:
    position, adapter = position_in([])
    position.release()
    assert adapter._dataloader is None

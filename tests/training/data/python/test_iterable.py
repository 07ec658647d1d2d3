"""The position in what Python iterates over anew for each pass, whether its iterators tell their state or not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from holdfast.core.errors import InvalidPair
from holdfast.training.data.python.iterable import IterablePosition
from holdfast.training.session import random_state

BATCHES = 6


class Shuffled:
    """A new order for each pass, by NumPy's global state, and noise by it: as PyTorch's loaders do it by theirs."""

    def __init__(self) -> None:
        self.made = 0

    def __iter__(self) -> Iterator[Any]:
        for number in np.random.permutation(BATCHES):
            self.made += 1
            yield np.asarray([number + np.random.random()])


class Telling:
    def __init__(self) -> None:
        self.next, self.made = 0, 0

    def __iter__(self) -> Telling:
        return Telling()

    def __next__(self) -> Any:
        if self.next == BATCHES:
            raise StopIteration
        self.next += 1
        self.made += 1
        return np.asarray([self.next])

    def get_state(self) -> Any:
        return {"next": self.next}

    def set_state(self, state: Any) -> None:
        self.next = state["next"]


class Refusing(Telling):
    def __iter__(self) -> Refusing:
        return Refusing()

    def set_state(self, state: Any) -> None:
        raise ValueError("of another source")


class Mute(Telling):
    def __iter__(self) -> Mute:
        return Mute()

    def get_state(self) -> Any:
        raise RuntimeError("no state today")


def position_in(data: Any, said: list[str]) -> IterablePosition:
    keras = SimpleNamespace(steps_per_epoch=None, steps_per_execution=1, _steps_seen=0, data_adapter=None)
    return IterablePosition(data, keras, said.append)


def values(batches: Iterator[Any], count: int) -> list[float]:
    return [float(batch[0]) for batch in itertools.islice(batches, count)]


def in_a_new_process(data: Any, facts: dict[str, Any], done: int, said: list[str]) -> IterablePosition:
    position = position_in(data, said)
    position.restore(facts)
    position.begin_epoch(done, within=True, facts=facts)
    assert all(position.drop_batch(None) for _ in range(done))
    return position


KINDS: dict[str, tuple[Any, list[str]]] = {
    "shuffled": (Shuffled, []),
    "tells its state": (Telling, []),
    "refuses its state": (Refusing, ["set_state() raised ValueError: of another source. Batches that are done"]),
    "raises": (Mute, ["get_state() raised RuntimeError: no state today. Batches that are done are drawn again"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_continues_where_it_was(kind: str, said: list[str]) -> None:
    make, expected_lines = KINDS[kind]
    np.random.seed(3)
    expected = values(iter(make()), BATCHES)
    np.random.seed(3)
    first = position_in(make(), said)
    first.begin_epoch(0, within=False, facts=None)
    batches = first.open()
    values(batches, 4)  # two of them ahead of the training
    facts, states = first.facts(True, 2), first.random_state(True, 2)
    np.random.seed(4)
    second = in_a_new_process(make(), facts, 2, said)
    random_state.set_state(states)
    assert values(second.open(), BATCHES) == expected[2:]
    assert second.verdict is None
    assert len(said) >= len(expected_lines)
    assert all(expected_lines[0] in line for line in said)


def test_a_state_is_set_without_drawing(said: list[str]) -> None:
    first = position_in(Telling(), said)
    values(first.open(), 4)
    facts = {**first.facts(True, 3), "drawn": 0}
    second = in_a_new_process(Telling(), facts, 3, said)
    assert second.exact
    assert values(second.open(), 1) == [4]


def test_a_pass_that_is_over_leaves_nothing_for_the_next_one(said: list[str]) -> None:
    first = position_in(Shuffled(), said)
    batches = first.open()
    values(batches, BATCHES)
    second = in_a_new_process(Shuffled(), first.facts(True, BATCHES), BATCHES, said)
    second.end_epoch()
    second.begin_epoch(0, within=False, facts=None)
    assert len(values(second.open(), BATCHES)) == BATCHES


def test_other_batches_are_named(said: list[str]) -> None:
    first = position_in(Shuffled(), said)
    values(first.open(), 4)
    other = iter([np.asarray([float(number)]) for number in range(BATCHES)])
    second = in_a_new_process(other, first.facts(True, 3), 3, said)
    assert not second.exact
    assert second.verdict is not None
    assert "gives other batches than it gave before" in second.verdict


def test_data_that_is_shorter_than_before_ends(said: list[str]) -> None:
    first = position_in(Shuffled(), said)
    values(first.open(), 4)
    second = in_a_new_process(iter([np.zeros(1)]), first.facts(True, 3), 1, said)
    assert not second.drop_batch(None)


def test_a_pair_of_an_older_version_is_gone_through_by_keras_iterator_and_not_called_exact(said: list[str]) -> None:
    position = position_in(Shuffled(), said)
    position.restore({"drawn": 0})
    position.begin_epoch(2, within=True, facts={"drawn": 0})
    drawn = iter([1, 2, 3])
    assert [position.drop_batch(drawn) for _ in range(2)] == [True, True]
    assert next(drawn) == 3
    assert not position.exact


@pytest.mark.parametrize("saved", [{}, 3, {"state": {}, "random": {}}, {"state": {}, "random": {"python": 1}}])
def test_a_malformed_state_is_refused(saved: Any, said: list[str]) -> None:
    position = position_in(Shuffled(), said)
    with pytest.raises(InvalidPair, match="malformed"):
        position.check({"iterable": saved})


@pytest.fixture
def said() -> list[str]:
    return []

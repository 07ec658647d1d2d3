"""What stands between a Python generator and Keras: it counts, and draws again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from holdfast.core.errors import InvalidPair
from holdfast.training.data.python.generator import GeneratorPosition, GeneratorSource
from holdfast.training.pair.plain import from_plain


def draws() -> Iterator[Any]:
    while True:
        yield np.random.random(2), np.zeros(2)


def source_of(generator: Iterator[Any], done: int = 0, said: list[str] | None = None) -> GeneratorSource:
    lines = [] if said is None else said
    return GeneratorSource(generator, [*itertools.islice(generator, 2)], lambda: done, lines.append)


def values(batches: Iterator[Any], count: int) -> list[float]:
    return [float(batch[0][0]) for batch in itertools.islice(batches, count)]


@pytest.fixture(autouse=True)
def seed() -> None:
    np.random.seed(3)


def drawn_in_turns(source: GeneratorSource) -> list[float]:
    """A callback draws after the third batch and after the seventh."""
    batches, found = source.open(), []
    for number in range(10):
        found += values(batches, 1)
        if number in (2, 6):
            np.random.random(5)
    return found


def test_it_draws_again_what_it_drew_where_something_else_drew_in_between() -> None:
    before = source_of(draws())
    expected = drawn_in_turns(before)
    facts = before.facts(8)
    np.random.seed(3)
    after = source_of(draws())
    after.restore(facts, 8)
    assert all(after.skip() for _ in range(8))
    np.random.set_state(restored(before, 8))
    assert values(after.open(), 2) == expected[8:]
    assert not after.notes.differs


def restored(source: GeneratorSource, batch: int) -> Any:
    return from_plain(source.notes.states_before(source.number_of(batch))["numpy"])


def test_the_first_batches_come_again_in_each_pass_and_the_generator_goes_on() -> None:
    source = source_of(iter((np.full(1, n),) for n in range(5)))
    assert values(source.open(), 9) == [0, 1, 2, 3, 4]
    source.begin_pass()
    assert values(source.open(), 9) == [0, 1]
    assert source.facts(None)["began"] == 5


def test_other_first_batches_do_not_matter_once_they_are_done() -> None:
    before = source_of(draws())
    values(before.open(), 4)
    np.random.seed(4)
    for done, differs in ((1, True), (3, False)):
        after = source_of(draws())
        after.restore(before.facts(done), done)
        assert all(after.skip() for _ in range(done))
        assert after.notes.differs is differs


def test_a_generator_that_is_shorter_than_before_ends() -> None:
    source = source_of(iter((np.zeros(1),) for _ in range(3)))
    assert [source.skip() for _ in range(4)] == [True, True, True, False]


def test_only_what_a_boundary_may_ask_for_is_kept() -> None:
    source = source_of(draws(), done=190)
    values(source.open(), 200)
    assert source.notes.states_before(source.number_of(20)) == {}
    assert source.notes.states_before(source.number_of(195)) != {}


def test_the_notes_of_a_long_pass_stay_few() -> None:
    source = source_of(np.zeros((1, 1)) for _ in range(6_500))
    values(source.open(), 6_500)
    numbers = [number for number, _ in source.facts(6_490)["digests"]]
    assert len(numbers) < 80
    assert numbers[:4] == [0, 1, 2, 4]
    assert numbers[-1] == 6_464


def test_draws_of_other_code_that_are_too_many_to_be_kept_are_named() -> None:
    said: list[str] = []
    batches = source_of(draws(), said=said).open()
    for expected in (0, 1):
        for _ in range(100):
            values(batches, 1)
            np.random.random()
        assert len(set(said)) == expected
    assert said[0].startswith("more than 128 times in a pass, other code (a callback, say) has drawn from")


@pytest.mark.parametrize("facts", [{}, {"states": [], "digests": []}, {"states": 3, "digests": [], "began": 2}])
def test_malformed_facts_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(InvalidPair, match="malformed"):
        source_of(draws()).restore(facts, 0)


def test_keras_has_the_generator_again_once_the_fit_is_over() -> None:
    before = {"generator": lambda: draws(), "_first_batches": []}
    adapter = SimpleNamespace(**before)
    keras = SimpleNamespace(steps_per_epoch=None, steps_per_execution=1, _steps_seen=0, data_adapter=adapter)
    GeneratorPosition(draws(), keras, lambda text: None).release()
    assert vars(adapter) == before

"""Batches that are done already are dropped, for any kind of data."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from holdfast.core.errors import Mismatch
from holdfast.training.data.position import DataPosition, ignore, ignore_earlier
from holdfast.training.data.replay import Replay


class ListPosition:
    """The position in a list: what a DataPosition is at the least."""

    exact = True
    behind = False
    verdict = None

    def __init__(self) -> None:
        self.arrived = 0

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        return {}

    def random_state(self, within_epoch: bool, done: int) -> dict[str, Any]:
        return {}

    def check(self, facts: Mapping[str, Any]) -> None: ...

    def restore(self, facts: Mapping[str, Any]) -> None: ...

    def difference(self, facts: Mapping[str, Any]) -> str | None:
        return None

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None: ...

    def catch_up(self, iterator: Iterator[Any], look: Callable[[int, Any], None] = ignore_earlier) -> None:
        look(1, next(iterator))

    def drop_batch(self, iterator: Iterator[Any], look: Callable[[Any], None] = ignore) -> bool:
        batch = next(iterator, None)
        if batch is not None:
            look(batch)
        return batch is not None

    def caught_up(self) -> None:
        self.arrived += 1

    def end_epoch(self) -> None: ...


class FixedRandom:
    """A random state that drawing from the data changes."""

    def __init__(self) -> None:
        self.set: list[dict[str, Any]] = []

    def get_state(self) -> dict[str, Any]:
        return {"n": 1}

    def set_state(self, state: dict[str, Any]) -> None:
        self.set.append(state)


@pytest.fixture
def position() -> ListPosition:
    return ListPosition()


def replay_of(
    position: DataPosition,
    refused: list[str] | None = None,
    random: FixedRandom | None = None,
    look: Callable[[int, Any], None] = lambda number, batch: None,
    verdict: str | None = None,
    said: list[str] | None = None,
) -> Replay:
    refuse, say = ([] if refused is None else refused).append, ([] if said is None else said).append
    return Replay(position, random or FixedRandom(), refuse, look, look, lambda: verdict, say)


def test_it_drops_what_is_done_and_says_once_that_it_is_there(position: ListPosition) -> None:
    replay, arrivals, data = replay_of(position), [], iter([1, 2, 3, 4, 5, 6])
    replay.begin(5, lambda: arrivals.append("there"))
    assert [replay.drop(data, 2), replay.left, arrivals] == [2, 3, []]
    assert [replay.drop(data, 2), replay.drop(data, 2), replay.left] == [2, 1, 0]
    assert (arrivals, position.arrived, next(data)) == (["there"], 1, 6)


def test_data_that_ends_before_the_checkpoints_batch_is_refused_with_both_numbers(position: ListPosition) -> None:
    refused: list[str] = []
    replay = replay_of(position, refused)
    replay.begin(5, lambda: pytest.fail("it is not there"))
    replay.drop(data := iter([1, 2]), 2)
    with pytest.raises(Mismatch, match="the data has 2 batches, and the checkpoint was taken at batch 5"):
        replay.drop(data, 2)
    assert len(refused) == 1


def test_what_earlier_epochs_drew_leaves_the_random_state_as_it_was(position: ListPosition) -> None:
    random = FixedRandom()
    replay_of(position, random=random).catch_up(iter([1]))
    assert (random.set, position.arrived) == ([{"n": 1}], 1)


def test_the_checkpoint_is_not_held_in_memory_once_the_replay_is_over(position: ListPosition) -> None:
    class Checkpoint:
        pass

    checkpoint = Checkpoint()
    held = weakref.ref(checkpoint)
    replay = replay_of(position)
    replay.begin(1, lambda checkpoint=checkpoint: None)  # type: ignore[misc]
    del checkpoint
    replay.drop(iter([1]), 1)
    assert held() is None


def test_each_batch_that_is_dropped_is_seen_with_its_number(position: ListPosition) -> None:
    seen: list[tuple[int, Any]] = []
    replay, data = replay_of(position, look=lambda number, batch: seen.append((number, batch))), iter("abcdef")
    replay.begin(5, lambda: None)
    while replay.left:
        replay.drop(data, 2)
    assert seen == [(0, "a"), (1, "b"), (2, "c"), (3, "d"), (4, "e")]


@pytest.mark.parametrize(("verdict", "said"), [("other", ["other"]), (None, [])])
def test_what_is_said_of_the_data_is_what_the_batches_show(
    position: ListPosition, verdict: str | None, said: list[str]
) -> None:
    heard: list[str] = []
    replay = replay_of(position, verdict=verdict, said=heard)
    replay.begin(1, lambda: None)
    replay.drop(iter([1]), 1)
    assert heard == said

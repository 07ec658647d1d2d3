from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast.core import restricted_pickle
from holdfast.core.errors import InvalidPair
from holdfast.core.wire import Message, Notice, PairWritten, RankState
from holdfast.training.gang.part import GangPart
from holdfast.training.gang.rank_state import OwnState
from holdfast.training.pair.pair_files import RANKS, Position, Saved

IDENTITY = {"model": "m"}


class Told(list[Message]):
    """What a part tells its supervisor."""

    @property
    def states(self) -> Iterator[RankState]:
        return (message for message in self if isinstance(message, RankState))


def part(folder: Path, rank: int, told: Told, ranks: int = 3) -> GangPart:
    own = folder / str(rank)
    own.mkdir(exist_ok=True)
    return GangPart(rank, ranks, own, told.append)


def state(step: int = 7, digests: Mapping[str, str] | None = None, **facts: Any) -> OwnState:
    return OwnState((0, step, step), facts, digests or {})


def packed(**facts: object) -> bytes:
    return state(**facts).packed(1)


def both(tmp_path: Path, first: OwnState, second: OwnState) -> dict[int, bytes]:
    """Rank 0 asks for what rank 1 sends."""
    told = Told()
    zero, one = part(tmp_path, 0, told, 2), part(tmp_path, 1, told, 2)
    one.send_state(second)
    for message in told.states:
        zero.heard(message)
    return zero.states(first)


def test_what_a_rank_sends_comes_back_to_it_from_the_pair_and_to_no_other(tmp_path: Path) -> None:
    told = Told()
    first, second, third = (part(tmp_path, rank, told) for rank in range(3))
    second.send_state(state(random="of the second"))
    third.send_state(state(random="of the third"))
    for message in told.states:
        first.heard(message)
    own = state(random="of the first", epochs=3)
    saved = Saved(Position(0, 7, 7), {}, {**own.facts, RANKS: first.states(own)})
    assert [one.own(saved).facts["random"] for one in (first, second, third)] == [
        "of the first",
        "of the second",
        "of the third",
    ]
    assert third.own(saved).facts["epochs"] == 3, "what all share"


def test_which_pairs_there_are_is_known_to_rank_0_and_each_rank_knows_its_own_data(tmp_path: Path) -> None:
    mine = state(fit=1, fits=[{"identity": {"data": "b"}, "done": False}, {"identity": {"data": "b2"}, "done": False}])
    own = state(
        fit=1, fits=[{"identity": {"data": "a"}, "done": True, "needs": 0}, {"identity": {"data": "a2"}, "done": False}]
    )
    saved = Saved(Position(0, 7, 7), {}, {**own.facts, RANKS: both(tmp_path, own, mine)})
    facts = part(tmp_path, 1, Told(), 2).own(saved).facts
    assert facts["fits"] == [
        {"identity": {"data": "b"}, "done": True, "needs": 0},
        {"identity": {"data": "b2"}, "done": False},
    ]


def test_states_of_many_steps_wait_for_a_writer_that_is_slow_and_serve_a_second_attempt(tmp_path: Path) -> None:
    told = Told()
    first, second = part(tmp_path, 0, told, 2), part(tmp_path, 1, told, 2)
    for step in range(20):
        second.send_state(state(step, number=step))
    for message in told.states:
        first.heard(message)
    for step in range(20):
        again = first.states(state(step))
        assert again == first.states(state(step)), "a disk that was full is tried again"
        first.saved(step)
    with pytest.raises(TimeoutError):
        first.states(state(3), wait=0.0)


def test_a_state_that_does_not_come_is_an_error_that_names_the_rank(tmp_path: Path) -> None:
    told = Told()
    first, second = part(tmp_path, 0, told), part(tmp_path, 1, told)
    second.send_state(state())
    for message in told.states:
        first.heard(message)
    with pytest.raises(TimeoutError, match="rank 2"):
        first.states(state(), wait=0.01)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (OwnState((1, 0, 7), {}, {}), r"rank 1 is at epoch, batch and step \(1, 0, 7\)"),
        (state(ended=True), "'ended' is True on rank 1"),
        (state(ended=False, digests={"dense/kernel": "other"}), "dense/kernel is another one on rank 1"),
    ],
    ids=["another boundary", "one that a callback ended alone", "other weights"],
)
def test_a_rank_that_is_somewhere_else_is_found_out_before_the_pair_is_written(
    tmp_path: Path, theirs: OwnState, said: str
) -> None:
    with pytest.raises(OSError, match=said):
        both(tmp_path, state(ended=False, digests={"dense/kernel": "one"}), theirs)


def test_large_values_that_all_ranks_have_do_not_travel_and_come_back(tmp_path: Path) -> None:
    """As EarlyStopping's best weights."""
    best = os.urandom(2 << 20)
    own = state(callbacks=[{"state": {"best": 1.0, "best_weights": [best]}}], random="a")
    mine = state(callbacks=[{"state": {"best": 1.0, "best_weights": [best]}}], random="b")
    states = both(tmp_path, own, mine)
    assert len(states[1]) < 10_000
    saved = Saved(Position(0, 7, 7), {}, {**own.facts, RANKS: states})
    assert part(tmp_path, 1, Told(), 2).own(saved).facts == mine.facts | {RANKS: states}


def test_large_values_that_are_not_the_same_are_named_with_what_to_do(tmp_path: Path) -> None:
    own, mine = (state(data={"buffer": os.urandom(2 << 20)}) for _ in range(2))
    with pytest.raises(OSError, match=r"data/buffer is large.*Shuffle file names"):
        both(tmp_path, own, mine)


def test_what_cannot_be_sent_at_all_fails_rank_0s_pair_at_once_and_says_why(tmp_path: Path) -> None:
    told = Told()
    first, second = part(tmp_path, 0, told, 2), part(tmp_path, 1, told, 2)
    with pytest.raises(ValueError, match="may have"):
        second.send_state(state(data=[os.urandom(1 << 13) for _ in range(200)]))
    for message in told.states:
        first.heard(message)
    with pytest.raises(OSError, match="rank 1: what only rank 1 knows"):
        first.states(state(), wait=0.0)


@pytest.mark.parametrize(
    "states",
    [{}, {1: packed()}, {1: packed(), 2: packed(), 3: packed()}, "nonsense"],
    ids=["one machine's", "two machines'", "four machines'", "none"],
)
def test_a_pair_of_another_number_of_machines_is_refused(tmp_path: Path, states: object) -> None:
    saved = Saved(Position(0, 7, 7), {}, {RANKS: states} if states else {})
    with pytest.raises(InvalidPair, match="there are 3"):
        part(tmp_path, 0, Told()).own(saved)


@pytest.mark.parametrize(
    "damaged", [b"", b"damaged", zlib.compress(b"damaged"), zlib.compress(restricted_pickle.dumps({"at": 3})), None]
)
def test_a_state_that_cannot_be_read_is_no_valid_pair(tmp_path: Path, damaged: object) -> None:
    saved = Saved(Position(0, 7, 7), {}, {RANKS: {1: damaged, 2: packed()}})
    with pytest.raises(InvalidPair):
        part(tmp_path, 1, Told()).own(saved)


def test_a_rank_learns_the_pair_that_rank_0_made_of_its_state_or_that_there_is_none(tmp_path: Path) -> None:
    second = part(tmp_path, 1, Told())
    assert second.pair_of(7, wait=0.0) is None
    second.heard(PairWritten(7, "model-0000-00000007-none-i1-q1"))
    name = second.pair_of(7, wait=0.0)
    assert name is not None
    assert name.step == 7
    second.heard(PairWritten(-1, ""))
    with pytest.raises(OSError, match="could not write"):
        second.pair_of(8, wait=0.0)
    assert second.pair_of(9, wait=0.0) is None, "said once"


def test_ranks_that_are_given_the_same_arrays_are_told_so_once(tmp_path: Path) -> None:
    told = Told()
    zero, one = part(tmp_path, 0, told, 2), part(tmp_path, 1, told, 2)
    fits = [{"identity": {"data": "abc"}}]
    for step in (1, 2):
        one.send_state(state(step, fit=0, fits=fits, arrays={}))
    for message in told.states:
        zero.heard(message)
    for step in (1, 2):
        zero.states(state(step, fit=0, fits=fits, arrays={}))
    said = [message.text for message in told if isinstance(message, Notice)]
    assert len(said) == 1
    assert "the same arrays" in said[0]

"""Further pairs that the training process asks for."""

from __future__ import annotations

import queue
import threading

import pytest

from fakes.pairs import name_of
from fakes.threads import no_further_thread
from holdfast.core import wire
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import InvalidPair
from holdfast.supervisor.needed_pairs import NeededPairs


class Answers:
    def __init__(self) -> None:
        self._answers: queue.Queue[wire.Message] = queue.Queue()

    def send(self, message: wire.Message) -> bool:
        self._answers.put(message)
        return True

    def next(self) -> wire.Message:
        return self._answers.get(timeout=30)


def test_a_pair_is_brought_while_the_channel_goes_on_and_then_answered() -> None:
    answers, go_on = Answers(), threading.Event()
    brought: list[CheckpointName] = []

    def bring(name: CheckpointName) -> None:
        assert go_on.wait(30)
        brought.append(name)

    needed = NeededPairs(bring, answers.send)
    needed.want(wire.PairWanted(str(name_of(3))))
    assert needed.bringing
    go_on.set()
    assert answers.next() == wire.PairHere(str(name_of(3)), None)
    assert (brought, needed.bringing) == ([name_of(3)], False)


def test_where_no_further_thread_can_be_started_the_channel_brings_it() -> None:
    answers = Answers()
    needed = NeededPairs(lambda name: None, answers.send)
    with no_further_thread():
        needed.want(wire.PairWanted(str(name_of(3))))
        assert answers.next() == wire.PairHere(str(name_of(3)), None)


@pytest.mark.parametrize("name", [str(name_of(3)), "../x"])
def test_a_pair_that_cannot_be_had_is_answered_with_the_reason(name: str) -> None:
    def bring(name: CheckpointName) -> None:
        raise InvalidPair("its .h5 is not in the store")

    answers = Answers()
    NeededPairs(bring, answers.send).want(wire.PairWanted(name))
    answer = answers.next()
    assert isinstance(answer, wire.PairHere)
    assert answer.name == name
    assert answer.error

"""Is a batch of a PyDataset being waited for? With a queue like Keras' own, without Keras."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.training.data.waits_for_batch import awaited


class Enqueuer:
    """Says in ``asked`` that somebody waits for a batch."""

    def __init__(self) -> None:
        self.batches: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.asked = threading.Semaphore(0)

    def get(self) -> Iterator[int]:
        while True:
            self.asked.release()
            yield self.batches.get()


def iterating(enqueuer: Any) -> Any:
    return SimpleNamespace(data_adapter=SimpleNamespace(enqueuer=enqueuer))


@pytest.mark.parametrize("data", [None, SimpleNamespace(), iterating(None), iterating(object())])
def test_of_other_data_it_cannot_be_told(data: Any) -> None:
    assert awaited(data) is None


def test_a_batch_is_awaited_from_the_question_to_the_answer() -> None:
    enqueuer, other = Enqueuer(), Enqueuer()
    is_awaited, others = awaited(iterating(enqueuer)), awaited(iterating(other))
    assert is_awaited is not None
    assert others is not None
    assert not is_awaited()
    drawn, proceed = threading.Event(), threading.Event()

    def train() -> None:
        iterator = enqueuer.get()
        next(iterator)
        drawn.set()
        proceed.wait()
        next(iterator)

    thread = threading.Thread(target=train)
    thread.start()
    assert enqueuer.asked.acquire(timeout=30)
    assert is_awaited()
    assert not others()
    enqueuer.batches.put(1)
    assert drawn.wait(30)
    assert not is_awaited(), "the step is under way"
    proceed.set()
    assert enqueuer.asked.acquire(timeout=30)
    assert is_awaited()
    enqueuer.batches.put(2)
    thread.join()

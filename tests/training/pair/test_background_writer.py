"""Writing in the background: nothing is lost, nothing piles up, and no error reaches the training."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from fakes.threads import no_further_thread
from holdfast.core.manifest import Manifest
from holdfast.spool import Spool, record_of
from holdfast.training.pair.background_writer import Writer
from holdfast.training.pair.pair_files import Draft, Place, Position, Written
from holdfast.training.session.base import Session

BIG = 10 << 20
PLACE = Place("arrays", 0)


class Heard(Session):
    """A session that remembers what it is told."""

    def __init__(self, spool: Spool) -> None:
        super().__init__(spool, 1, 1, None, durable=False)
        self.manifests: list[Manifest] = []
        self.errors: list[str] = []
        self.dumb = False

    def saved(self, manifest: Manifest, seconds: float) -> None:
        assert 0 <= seconds < 60
        assert self.spool.manifest(manifest.name) == manifest, "the pair is there when it is told of"
        self.manifests.append(manifest)

    def failed(self, error: str) -> None:
        if self.dumb:
            raise RuntimeError("this cannot be told")
        self.errors.append(error)


@pytest.fixture
def session(tmp_path: Path) -> Heard:
    return Heard(Spool(tmp_path / "00001-digits"))


class Slow:
    """Model files that are written when the test says so; it keeps in which thread, and at which priority."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.threads: list[str] = []
        self.priorities: list[int] = []

    def __call__(self, path: Path, most_dirty: int | None, over: Path | None = None) -> Written:
        self.threads.append(threading.current_thread().name)
        self.priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        self.begun.set()
        assert self.go.wait(30)
        with h5py.File(path, "w") as file:
            file.create_dataset("a", data=np.zeros(3))
        return Written("arrays", {}, record_of(path))


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.go.set()


class Sized:
    """An array of so many bytes, as far as anybody asks."""

    def __init__(self, size: int) -> None:
        self.shape = (size,)
        self.dtype = np.dtype("uint8")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.zeros(3, "uint8")


def draft(step: int, write: Any, size: int = 8) -> Draft:
    return Draft(Position(0, step, step), "interval", {}, {PLACE: ("a", Sized(size))}, {}, write)


def broken(path: Path, most_dirty: int | None, over: Path | None = None) -> Written:
    raise ValueError("cannot write this")


def test_drafts_are_written_in_order_by_a_thread_that_gives_way_to_the_training(session: Heard, slow: Slow) -> None:
    writer = Writer(session)
    assert not writer.busy
    assert [writer.offer(draft(step, slow)) for step in (1, 2, 3)] == [True] * 3
    assert slow.begun.wait(30)
    assert writer.busy
    assert session.manifests == []
    slow.go.set()
    writer.wait()
    assert not writer.busy
    assert [manifest.name.step for manifest in session.manifests] == [1, 2, 3]
    assert slow.threads == ["holdfast-writer"] * 3
    assert slow.priorities == [19] * 3


def test_where_no_further_thread_can_be_started_the_training_writes_itself(session: Heard, slow: Slow) -> None:
    writer = Writer(session)
    slow.go.set()
    with no_further_thread():
        assert writer.offer(draft(1, slow))
        assert not writer.busy
        assert writer.offer(draft(2, slow))
        assert writer.write_now(draft(3, slow))
    assert writer.offer(draft(4, slow))
    writer.wait()
    assert [manifest.name.step for manifest in session.manifests] == [1, 2, 3, 4]
    assert slow.threads == [*["MainThread"] * 3, "holdfast-writer"]


def test_only_so_much_may_wait_behind_the_one_being_written(session: Heard, slow: Slow) -> None:
    writer = Writer(session)
    assert writer.offer(draft(1, slow, 4 * BIG)), "whatever its size, when nothing is under way"
    assert slow.begun.wait(30)
    assert writer.offer(draft(2, slow, BIG))
    assert writer.offer(draft(3, slow, (16 << 20) - BIG)), "16 MiB may wait"
    assert not writer.offer(draft(4, slow, 1))
    slow.go.set()
    writer.wait()
    assert writer.offer(draft(5, slow, 4 * BIG)), "and now there is room again"
    writer.wait()
    assert [manifest.name.step for manifest in session.manifests] == [1, 2, 3, 5]


def test_a_failure_is_told_and_the_next_draft_is_written_all_the_same(session: Heard, slow: Slow) -> None:
    writer = Writer(session)
    slow.go.set()
    assert writer.offer(draft(1, broken))
    assert writer.offer(draft(2, slow))
    writer.wait()
    assert session.errors == ["a checkpoint could not be written: ValueError: cannot write this"]
    assert [manifest.name.step for manifest in session.manifests] == [2]
    assert len(list(session.spool.path.glob("model-*"))) == 3, "of the first, nothing is left"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_that_cannot_even_be_told_keeps_no_later_draft_from_being_written(session: Heard, slow: Slow) -> None:
    writer = Writer(session)
    slow.go.set()
    session.dumb = True
    assert writer.offer(draft(1, broken))
    writer.wait()
    assert not writer.busy
    assert writer.offer(draft(2, slow))
    writer.wait()
    assert [manifest.name.step for manifest in session.manifests] == [2]


def test_what_is_written_at_once_comes_after_what_waits_and_says_whether_it_could(session: Heard, slow: Slow) -> None:
    writer = Writer(session)
    writer.offer(draft(1, slow))
    assert slow.begun.wait(30)
    threading.Timer(0.01, slow.go.set).start()
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert writer.write_now(draft(2, slow))
    assert [manifest.name.step for manifest in session.manifests] == [1, 2]
    assert slow.threads == ["holdfast-writer", threading.current_thread().name]
    assert slow.priorities[1] == before
    assert not writer.write_now(draft(3, broken))
    assert session.errors == ["a checkpoint could not be written: ValueError: cannot write this"]

"""The writer holds one large state at a time, and nobody waits for a disk because of that."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.core.manifest import Manifest
from holdfast.spool import Spool, record_of
from holdfast.training.pair.background_writer import Writer
from holdfast.training.pair.pair_files import Draft, Place, Position, Written
from holdfast.training.session.base import Session
from integration.daemons import wait_for

LARGE, SMALL = 20 << 20, 1 << 10


class Told(Session):
    """A session whose pairs are counted; saving can be held up, and so can the disk: opening a pipe waits."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Spool(folder / "00001-x"), 1, 1, None, durable=False)
        self.names: list[str] = []
        self.may_save = threading.Event()
        self.may_save.set()
        self.slow_disk: Path | None = None

    def saved(self, manifest: Manifest, seconds: float) -> None:
        self.names.append(str(manifest.name))
        assert self.may_save.wait(30)
        if self.slow_disk is not None:
            self.spool.file(manifest.name.file("h5")).unlink()
            self.slow_disk.rename(self.spool.file(manifest.name.file("h5")))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Told]:
    found = Told(tmp_path)
    yield found
    found.may_save.set()


def draft(step: int, size: int, told: list[int | None] | None = None) -> Draft:
    def write_h5(path: Path, most_dirty: int | None, over: Path | None = None) -> Written:
        if told is not None:
            told.append(most_dirty)
        path.write_bytes(bytes(size))
        return Written("arrays", {}, record_of(path))

    values: dict[Place, tuple[str, Any]] = {Place("array", 0): ("a", np.zeros(size, "uint8"))}
    return Draft(Position(0, step, step), "test", {}, values, {}, write_h5)


def test_a_second_large_state_is_not_taken_while_the_first_is_being_written(session: Told) -> None:
    writer = Writer(session)
    session.may_save.clear()
    assert writer.offer(draft(1, LARGE))
    assert not writer.offer(draft(2, LARGE))
    session.may_save.set()
    writer.wait()
    assert [name.split("-")[2] for name in session.names] == ["00000001"]


def test_nobody_waits_for_the_disk_but_the_next_large_state(session: Told) -> None:
    os.mkfifo(pipe := session.spool.file("pipe"))
    session.slow_disk, writer = pipe, Writer(session)
    assert writer.offer(draft(1, LARGE))
    writer.wait()
    session.slow_disk = None
    assert writer.busy
    assert not writer.offer(draft(2, LARGE))
    assert writer.offer(draft(3, LARGE), required=True), "the last epoch's, say: there is no later boundary"
    writer.wait()
    assert len(session.names) == 2
    written = session.spool.file(f"{session.names[0]}.h5")
    written.open("wb").close()  # the disk is done
    wait_for(lambda: not writer.busy, "the first pair's pages need no memory")
    assert writer.offer(draft(4, LARGE))
    writer.wait()


def test_small_states_queue_up(session: Told) -> None:
    writer = Writer(session)
    session.may_save.clear()
    assert all(writer.offer(draft(step, SMALL)) for step in range(1, 6))
    session.may_save.set()
    writer.wait()
    assert len(session.names) == 5


def test_at_most_an_eighth_of_a_state_is_behind_the_disk_and_a_last_save_waits_for_none(session: Told) -> None:
    writer, told = Writer(session), []
    for size in (2 * LARGE, SMALL):
        writer.offer(draft(1, size, told))
        writer.wait()
    assert writer.write_now(draft(3, LARGE, told))
    assert told == [5 << 20, 4 << 20, None]


def test_what_has_been_written_is_held_no_longer(session: Told) -> None:
    held = draft(1, SMALL)
    gone, writer = weakref.ref(held.values[Place("array", 0)][1]), Writer(session)
    writer.offer(held)
    del held
    writer.wait()
    assert gone() is None


def test_one_is_told_beforehand_whether_a_state_would_be_taken(session: Told) -> None:
    writer = Writer(session)
    session.may_save.clear()
    assert writer.has_room(LARGE)
    writer.offer(draft(1, LARGE))
    assert not writer.has_room(LARGE)
    assert writer.has_room(LARGE, required=True)
    session.may_save.set()
    writer.wait()

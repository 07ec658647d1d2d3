"""A holder that was cut off, replaced, and comes back: it changes nothing of its successor's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.clocks import Clock, Passing
from fakes.events import RecordedEvents
from fakes.pairs import name_of, save_pair
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.artifacts import Limits
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import Fenced, NoValidPair
from holdfast.core.manifest import Manifest
from holdfast.core.policy import Retention
from holdfast.store.catalog import is_complete, list_pairs, read_manifest
from holdfast.supervisor.restore.opening import Prepared
from holdfast.supervisor.restore.prepare import Preparer
from holdfast.supervisor.settings import RunSettings
from holdfast.supervisor.upload.artifacts import Artifacts
from holdfast.supervisor.upload.between_pairs import Prune
from holdfast.supervisor.upload.store_pair import store_pair

RUN = "00001-digits"
LATER = 2 * 10**18


class Machine:
    """One start of a daemon, whose heartbeats do not come through: time passes when the test says so."""

    def __init__(self, store: MemoryStore, clock: Clock, work_dir: Path, extend: bool = False) -> None:
        self.store = FlakyStore(store)
        self.lost: list[str] = []
        self.said = RecordedEvents()
        self._clock = clock
        self._preparer = Preparer(
            RunSettings(name="digits", work_dir=work_dir, command=("true",), extend=extend),
            self.store,
            self.said,
            lambda path: None,
            store_pair,
            self.lost.append,
            lambda: None,
            Passing(clock),
            clock,
        )
        prepared = self._preparer.prepare()
        assert prepared is not None
        self.at: Prepared = prepared
        assert self._preparer.lease is not None
        self._preparer.lease.stop()
        self.artifacts = Artifacts(
            self._preparer.run_store, self.at.spool, Limits(), self.said, clock, wall_ns=lambda: LATER
        )
        self.artifacts.restore(Passing(clock))

    def bring(self) -> Manifest | None:
        return self._preparer.bring(self.at, ())

    def train(self, step: int) -> CheckpointName:
        """Stores the pair of that step."""
        name = name_of(step, self.at.incarnation)
        save_pair(self.at.spool, name)
        store_pair(self._preparer.run_store, self.at.spool, name)
        return name

    def prune(self, *stored: CheckpointName) -> None:
        """Down to the newest, as between two pairs."""
        task = Prune(self._preparer.run_store, RUN, Retention(1), stored, lambda text: None)
        task.stored(self.at.spool.manifest(stored[-1]))
        while (job := task.job(self._clock(), None)) is not None:
            job()

    def write(self, path: str, content: str) -> None:
        """An artifact, and a while ago."""
        file = self.at.spool.file("artifacts") / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        os.utime(file, ns=(10**18, 10**18))

    def sync(self, most: int = 1000) -> None:
        """Artifacts, as between two pairs."""
        self._clock.advance(60)
        for _ in range(most):
            job = self.artifacts.next_job()
            if job is None:
                return
            job()

    def complete(self) -> None:
        """The command has ended by itself: the last look, then the mark."""
        self.artifacts.conclude(True, None)
        while (job := self.artifacts.next_job()) is not None:
            job()
        self._preparer.finish(complete=True)

    def close(self) -> None:
        self._preparer.close()


Start = Callable[..., Machine]


@pytest.fixture
def start(memory: MemoryStore, clock: Clock, tmp_path: Path) -> Iterator[Start]:
    """A machine with a disk of its own; it waits until the lease is free."""
    made: list[Machine] = []

    def make(extend: bool = False) -> Machine:
        made.append(Machine(memory, clock, tmp_path / str(len(made)), extend))
        return made[-1]

    yield make
    for machine in made:
        machine.close()


def test_a_pruning_of_a_replaced_holder_leaves_its_successor_the_pair_that_it_has_listed(
    memory: MemoryStore, start: Start
) -> None:
    old = start()
    first = old.train(1)
    new = start()
    second = old.train(2)
    with pytest.raises(Fenced):
        old.prune(first, second)
    resume = new.bring()
    assert resume is not None
    assert resume.name == first
    assert list_pairs(memory, RUN) == [second, first]
    assert old.lost == [f"{os.uname().nodename} (incarnation 2)"]


def test_before_a_run_is_called_without_a_valid_pair_its_listing_is_taken_again(
    memory: MemoryStore, start: Start
) -> None:
    """Whoever has removed the pair that was listed, and by whatever way: a newer one is whole."""
    old = start()
    first = old.train(1)
    new = start()
    second = old.train(2)
    for part in ("json", "h5", "pkl"):
        memory.delete(f"{RUN}/{first.file(part)}")
    resume = new.bring()
    assert resume is not None
    assert resume.name == second


def test_a_run_whose_pairs_are_all_damaged_is_called_so_once_each_was_looked_at_once(
    memory: MemoryStore, start: Start
) -> None:
    old = start()
    names = [old.train(step) for step in (1, 2)]
    new = start()
    names.append(old.train(3))
    for name in names:
        memory.objects[f"{RUN}/{name.file('h5')}"] = b"rot"
    with pytest.raises(NoValidPair, match="has 3 checkpoints and none is valid"):
        new.bring()
    assert new.said.kinds().count("passed-over") == 3


def test_pairs_that_vanished_are_no_reason_to_start_over_silently(memory: MemoryStore, start: Start) -> None:
    old = start()
    name = old.train(1)
    new = start()
    for part in ("json", "h5", "pkl"):
        memory.delete(f"{RUN}/{name.file(part)}")
    with pytest.raises(NoValidPair):
        new.bring()


def test_an_artifact_of_a_replaced_holder_overwrites_nothing_of_its_successors(
    memory: MemoryStore, start: Start
) -> None:
    """It had looked at its folder, and was suspended before it sent what it had found."""
    old = start()
    old.write("best", "the old one's")
    old.sync(most=1)
    new = start()
    new.write("best", "the new one's")
    new.sync()
    before = dict(memory.objects)
    with pytest.raises(Fenced):
        old.sync()
    assert memory.objects == before
    new.complete()
    assert memory.objects[f"{RUN}/artifacts/best"] == b"the new one's"


def test_an_index_of_a_replaced_holder_does_not_replace_its_successors(memory: MemoryStore, start: Start) -> None:
    """It had sent its file, and was suspended before it sent the index."""
    old = start()
    old.write("best", "the old one's")
    old.sync(most=2)
    new = start()
    new.write("best", "the new one's")
    new.sync()
    before = dict(memory.objects)
    with pytest.raises(Fenced):
        old.sync()
    assert memory.objects == before


def test_a_replaced_holder_does_not_reopen_what_its_successor_has_completed(memory: MemoryStore, start: Start) -> None:
    start().complete()
    old = start(extend=True)
    new = start(extend=True)
    name = new.train(1)
    new.complete()
    assert is_complete(memory, new.at.run)
    with pytest.raises(Fenced):
        old.train(1)
    assert is_complete(memory, new.at.run)
    assert list_pairs(memory, RUN) == [name]
    assert read_manifest(memory, RUN, name).name == name


def test_a_replaced_holder_does_not_mark_the_run_complete(memory: MemoryStore, start: Start) -> None:
    old = start()
    new = start()
    with pytest.raises(Fenced):
        old.complete()
    assert not is_complete(memory, new.at.run)

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.clocks import Clock
from fakes.pairs import name_of, save_pair
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import Transient
from holdfast.core.machine import effects, events
from holdfast.core.redact import Redactor
from holdfast.spool import Spool
from holdfast.store.catalog import list_pairs
from holdfast.supervisor.messages_to_events import Reports
from holdfast.supervisor.report.journal import Journal
from holdfast.supervisor.restore.prepare import Preparer
from holdfast.supervisor.restorer import Restorer
from holdfast.supervisor.settings import RunSettings
from holdfast.supervisor.upload.store_pair import store_pair

RUN = "00001-digits"
PATIENCE = 30


class Started:
    """A restorer, and the events that it puts; what a training process does in between is the test's."""

    def __init__(self, store: FlakyStore, work_dir: Path) -> None:
        self.spool = Spool(work_dir / RUN)
        self.clock = Clock()
        self._queue: queue.SimpleQueue[events.Event] = queue.SimpleQueue()
        settings = RunSettings(name="digits", work_dir=work_dir, command=("true",), restore_first=True)
        journal = Journal(None)  # its file is a log that is stored
        self._preparer = Preparer(
            settings, store, journal.event, journal.attach, store_pair, lambda who: None, lambda: None
        )
        reports = Reports(journal.event, self._queue.put)
        self.restorer = Restorer(
            settings, store, journal.event, self._preparer, reports, self._queue.put, Redactor({}), {}, self.clock
        )

    def start(self) -> list[str]:
        """Begins, or begins again; the pairs that the loop is told of, in order."""
        self.restorer.start(effects.Restore())
        heard = self.until(events.Restored)
        return [event.name for event in heard if isinstance(event, events.PairSpooled)]

    def until(self, kind: type[events.Event]) -> list[events.Event]:
        """What was heard up to the next event of that kind."""
        heard: list[events.Event] = []
        while not heard or not isinstance(heard[-1], kind):
            heard.append(self._queue.get(timeout=PATIENCE))
            assert not isinstance(heard[-1], events.PairLost | events.RestoreFailed)
        return heard

    def upload(self, *names: str | CheckpointName) -> None:
        """As the loop does when it hears of a pair."""
        assert self.restorer.uploader is not None
        for name in names:
            parsed = CheckpointName.parse(str(name))
            assert parsed is not None
            self.restorer.uploader.add(parsed)
            self.until(events.PairStored)

    def conclude(self) -> None:
        assert self.restorer.uploader is not None
        self.restorer.uploader.finalize(False)
        self.until(events.Finalized)

    def close(self) -> None:
        if self.restorer.uploader is not None:
            self.restorer.uploader.close()
        self._preparer.close()


@pytest.fixture
def start(store: FlakyStore, tmp_path: Path) -> Iterator[Callable[[], Started]]:
    """Starts on one machine, one after the other."""
    made: list[Started] = []

    def make() -> Started:
        for before in made:
            before.close()
        made.append(Started(store, tmp_path / "work"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def text(*saves: int) -> list[str]:
    return [str(name_of(save)) for save in saves]


def test_what_an_earlier_start_could_not_store_is_all_stored_however_quick_the_store_is(
    memory: MemoryStore, start: Callable[[], Started]
) -> None:
    started = start()
    for save in range(1, 6):
        save_pair(started.spool, name_of(save))
    told = started.start()
    assert told == text(5, 4, 3, 2, 1)
    started.upload(*told)
    started.conclude()
    assert len(list_pairs(memory, RUN)) == 5
    assert started.spool.pairs() == [name_of(5), name_of(4)]


def test_of_what_the_store_lost_the_mark_goes_so_that_it_stays_until_it_is_stored_again(
    memory: MemoryStore, start: Callable[[], Started]
) -> None:
    first = start()
    first.start()
    for save in range(1, 5):
        save_pair(first.spool, name_of(save))
        first.spool.mark_stored(name_of(save))
    second = start()
    told = second.start()
    assert told == text(4, 3, 2, 1)
    assert second.spool.stored() == []
    second.upload(*told)
    assert len(list_pairs(memory, RUN)) == 4


def test_a_pair_whose_news_died_with_the_command_is_told_of_at_the_restart(start: Callable[[], Started]) -> None:
    started = start()
    assert started.start() == []
    save_pair(started.spool, name_of(1))
    assert started.start() == text(1)


def test_a_restart_tells_of_no_pair_again(store: FlakyStore, start: Callable[[], Started]) -> None:
    started = start()
    started.start()
    save_pair(started.spool, name_of(1))
    started.upload(name_of(1))
    save_pair(started.spool, name_of(2))
    store.before = away_for_data
    assert started.restorer.uploader is not None
    started.restorer.uploader.add(name_of(2))
    assert started.start() == []


def test_a_restart_while_the_store_is_away_tells_of_nothing_that_the_store_has(
    store: FlakyStore, start: Callable[[], Started]
) -> None:
    first = start()
    first.start()
    save_pair(first.spool, name_of(1))
    first.upload(name_of(1))
    second = start()
    assert second.start() == []
    store.outage = Transient("away")
    save_pair(second.spool, name_of(2))
    assert second.start() == text(2)


@pytest.mark.parametrize("reason", ["a deadline", "a pair"])
def test_a_log_that_is_being_sent_gives_way_and_comes_at_the_end(
    memory: MemoryStore, store: FlakyStore, start: Callable[[], Started], reason: str
) -> None:
    log, started, tries = f"{RUN}/events-i1.jsonl", start(), 0
    meddled = threading.Event()

    def meddle(operation: str, key: str) -> None:
        nonlocal tries
        uploader = started.restorer.uploader
        tries += key == log
        if key == log and tries == 1 and uploader is not None:
            if reason == "a deadline":
                uploader.hurry(started.clock() + 110)
            else:
                save_pair(started.spool, name_of(1))
                uploader.add(name_of(1))
            meddled.set()

    store.before = meddle
    started.start()
    assert meddled.wait(PATIENCE)
    started.conclude()
    assert (tries, len(memory.versions[log])) == (2, 1)


def away_for_data(operation: str, key: str) -> None:
    if key.endswith(".h5"):
        raise Transient("away")

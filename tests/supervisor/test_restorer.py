from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.clocks import Clock
from fakes.pairs import name_of, save_pair, store_only
from fakes.stores import FlakyStore, LaxStore, MemoryStore
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import Conflict, Exit, Transient
from holdfast.core.gang.ranks import Rank
from holdfast.core.machine import effects, events
from holdfast.core.redact import Redactor
from holdfast.spool import Spool
from holdfast.store import Store
from holdfast.store.catalog import list_pairs
from holdfast.store.conditional_write_fallback import Conditional
from holdfast.supervisor.gang.hub import Hub
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

    def __init__(self, store: Store, work_dir: Path, ranks: int = 1) -> None:
        self.spool = Spool(work_dir / RUN)
        self.clock = Clock()
        self._queue: queue.SimpleQueue[events.Event] = queue.SimpleQueue()
        rank = None if ranks == 1 else Rank(0, ranks, "--rank")
        settings = RunSettings(name="digits", work_dir=work_dir, command=("true",), restore_first=True, rank=rank)
        self.journal = journal = Journal(None)  # its file is a log that is stored
        self._preparer = Preparer(
            settings, store, journal.event, journal.attach, store_pair, lambda who: None, lambda: None
        )
        reports = Reports(journal.event, self._queue.put)
        put = self._queue.put
        self._hub = None if ranks == 1 else Hub(ranks, False, 0.0, journal.event, put, lambda message: True)
        self.restorer = Restorer(
            settings, store, journal.event, self._preparer, reports, put, Redactor({}), {}, self.clock, self._hub
        )

    def start(self) -> list[str]:
        """Begins, or begins again; the pairs that the loop is told of, in order."""
        self.restorer.start(effects.Restore())
        heard = self.until(events.Restored)
        return [event.name for event in heard if isinstance(event, events.PairSpooled)]

    def until(self, kind: type[events.Event]) -> list[events.Event]:
        """What was heard up to the next event of that kind."""
        heard = self.heard(kind)
        assert not any(isinstance(event, events.PairLost | events.RestoreFailed) for event in heard)
        return heard

    def heard(self, kind: type[events.Event]) -> list[events.Event]:
        """The same, whatever it was."""
        heard: list[events.Event] = []
        while not heard or not isinstance(heard[-1], kind | events.PairLost | events.RestoreFailed):
            heard.append(self._queue.get(timeout=PATIENCE))
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
        if self._hub is not None:
            self._hub.close()


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


def test_the_pair_that_the_command_resumes_from_stays_here_and_is_stored_though_newer_ones_are_of_no_use(
    memory: MemoryStore, store: FlakyStore, start: Callable[[], Started]
) -> None:
    """It is the only valid one, and the command reads it a while after an older pair was stored."""
    started = start()
    spool = started.spool
    for save, batch in ((1, 0), (2, 7), (3, 0), (4, 0)):
        save_pair(spool, name_of(save), batch=batch)
    for save in (3, 4):
        store_pair(store, spool, name_of(save))
        memory.objects[f"{RUN}/{name_of(save).file('pkl')}"] = b"damaged"
        spool.file(name_of(save).file("pkl")).write_bytes(b"damaged")
    assert started.start() == text(1, 2), "an epoch's pair, and the one to resume from"
    started.upload(*text(1, 2))
    started.conclude()
    assert started.restorer.resume is not None
    assert started.restorer.resume.name == name_of(2)
    assert name_of(2) in list_pairs(memory, RUN)
    assert spool.pairs() == [name_of(4), name_of(3), name_of(2)]


def test_a_pair_that_the_command_asked_for_stays_here_until_it_asks_for_another(
    store: FlakyStore, start: Callable[[], Started]
) -> None:
    started = start()
    for save in range(1, 5):
        store_only(store, started.spool, name_of(save))
    started.start()
    for save in (1, 2):
        started.restorer.bring_needed(name_of(save))
    own = [name_of(save, incarnation=2) for save in (5, 6)]
    for name in own:
        save_pair(started.spool, name)
        started.upload(name)
    started.conclude()
    assert started.spool.pairs() == [*reversed(own), name_of(2)]


def test_where_a_machine_starts_no_further_thread_that_is_an_event(start: Callable[[], Started]) -> None:
    """The loop then stores what it owes and gives the lease back."""
    started = start()
    before = threading.stack_size(1 << 40)  # more than there can be
    try:
        started.restorer.start(effects.Restore())
    finally:
        threading.stack_size(before)
    (failed,) = started.heard(events.RestoreFailed)
    assert failed == events.RestoreFailed("the restore cannot begin: can't start new thread", Exit.FAILED)


def test_a_thread_that_a_machine_cannot_start_now_is_started_a_moment_later(
    store: FlakyStore, start: Callable[[], Started]
) -> None:
    """The uploader's, say."""
    started, before = start(), threading.stack_size()

    def heard(kind: str, event: object) -> None:
        if kind == "machine":  # the uploader comes next
            threading.stack_size(1 << 40)  # more than there can be
        elif kind == "no-thread":
            threading.stack_size(before)

    started.journal.listen(heard)
    try:
        started.start()
    finally:
        threading.stack_size(before)
    save_pair(started.spool, name_of(1))
    started.upload(name_of(1))
    started.conclude()
    assert list_pairs(store, RUN) == [name_of(1)]


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


@pytest.mark.parametrize("create", ["kept", "ignored"])
def test_only_where_an_incarnation_is_one_machines_a_new_pair_is_not_looked_for_first(
    create: str, tmp_path: Path
) -> None:
    """On a store without create-only writes two machines may have one incarnation for a moment."""
    flaky = FlakyStore(LaxStore(create=create))
    started = Started(Conditional(flaky, lambda text: None, lambda seconds: None), tmp_path / "work")
    started.start()
    pair = name_of(1, incarnation=1)
    save_pair(started.spool, pair)
    asked: list[str] = []
    flaky.before = lambda operation, key: asked.append(operation) if str(pair) in key else None
    started.upload(pair)
    started.close()
    assert asked[0] == ("put" if create == "kept" else "get")


def test_other_ranks_do_not_wait_for_a_checkpoint_that_never_comes_to_the_store(
    store: FlakyStore, tmp_path: Path
) -> None:
    started = Started(store, tmp_path / "work", ranks=2)
    save_pair(started.spool, name_of(1), ranks=2)
    started.restorer.start(effects.Restore())
    started.heard(events.PairSpooled)
    store.fail("put", Conflict("the name is taken"), suffix=".h5")
    assert started.restorer.uploader is not None
    started.restorer.uploader.add(name_of(1))
    assert isinstance(started.heard(events.PairLost)[-1], events.PairLost)
    failed = started.heard(events.RestoreFailed)[-1]
    assert isinstance(failed, events.RestoreFailed)
    assert "the other ranks cannot have it" in failed.error
    started.close()

"""What has not changed since the last pair that the store has is named to it, and the events say what was copied."""

from __future__ import annotations

import queue
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes.clocks import Clock
from fakes.pairs import name_of, save_pair
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.machine import events
from holdfast.core.manifest import Manifest
from holdfast.core.policy import Retention
from holdfast.spool import PART, Spool, record_in_parts
from holdfast.store import KnownParts, OnSent
from holdfast.store.wrapper import Wrapper
from holdfast.supervisor.messages_to_events import Reports
from holdfast.supervisor.upload.store_pair import EarlierPair, store_pair
from holdfast.supervisor.upload.uploader import Uploader

LARGE = 2 * PART + 9


class Copying(Wrapper):
    """Copies what it may, as far as the caller can see, and remembers what was known."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.known: dict[str, KnownParts | None] = {}

    def put(
        self,
        key: str,
        path: Path,
        crc32: int | None = None,
        progress: OnSent | None = None,
        known: KnownParts | None = None,
    ) -> None:
        super().put(key, path, crc32, progress)
        self.known[key] = known
        for index in known.same if known else ():
            assert known is not None
            known.copied(min(PART, LARGE - index * PART))


def save_large(spool: Spool, name: CheckpointName, changed: int = 0, filled: bytes = b"\0") -> Manifest:
    """The .h5 has three parts. Zero is no change."""
    path = spool.file(name.file("h5"))
    small = save_pair(spool, name)
    with path.open("wb") as file:
        file.write(filled * LARGE)
        file.seek(changed)
        file.write(b"x" if changed else filled)
    manifest = replace(small, files={**small.files, "h5": record_in_parts(path)})
    spool.commit(manifest, durable=False)
    return manifest


def test_the_parts_that_the_earlier_pair_has_at_the_same_place_are_named_with_it(spool: Spool) -> None:
    store, copied = Copying(), list[int]()
    first = save_large(spool, name_of(1))
    save_large(spool, name_of(2), changed=PART)

    store_pair(store, spool, name_of(1))
    store_pair(store, spool, name_of(2), earlier=EarlierPair(first, copied.append, pytest.fail))

    known = store.known[f"{spool.run}/{name_of(1).file('h5')}"]
    assert known is not None
    assert (known.source, known.same) == ("", frozenset())
    known = store.known[f"{spool.run}/{name_of(2).file('h5')}"]
    assert known is not None
    assert (known.source, known.same) == (f"{spool.run}/{name_of(1).file('h5')}", {0, 2})
    assert store.known[f"{spool.run}/{name_of(2).file('pkl')}"] is None, "it is small"
    assert sum(copied) == PART + 9


def test_a_pair_of_an_early_version_is_no_source(spool: Spool) -> None:
    store = Copying()
    first, second = save_pair(spool, name_of(1)), save_large(spool, name_of(2))
    store_pair(store, spool, second.name, earlier=EarlierPair(first, pytest.fail, pytest.fail))
    known = store.known[f"{spool.run}/{name_of(2).file('h5')}"]
    assert known is not None
    assert known.same == frozenset()


@pytest.mark.parametrize("restarted", [False, True])
def test_the_events_say_how_much_was_sent_and_how_much_the_store_copied(spool: Spool, restarted: bool) -> None:
    said: list[dict[str, Any]] = []
    put: queue.SimpleQueue[events.Event] = queue.SimpleQueue()
    reports = Reports(lambda kind, *_, **facts: said.append(facts) if kind == "stored" else None, put.put)
    store, first = Copying(), save_large(spool, name_of(1))
    uploader = Uploader(store, spool, reports, (), lambda complete: None, Retention(2))
    if restarted:
        store_pair(store, spool, first.name)
        uploader.begin_with(first)
    uploader.start()
    for name in [name_of(2)] if restarted else [name_of(1), name_of(2)]:
        if name != first.name:
            save_large(spool, name, changed=1)
        uploader.add(name)
        assert put.get(timeout=30) == events.PairStored(str(name))
    uploader.close()
    assert said[-1]["bytes"] == said[-1]["sent"] + said[-1]["copied"]
    assert [facts["copied"] for facts in said] == ([PART + 9] if restarted else [0, PART + 9])


def test_what_the_store_copies_says_nothing_of_how_fast_it_gets_what_is_sent(spool: Spool) -> None:
    """A pair that is sent takes 2 s, and one that is mostly copied no time. 3 s are left for an older one under way and
    the newest.
    """
    store, stored = FlakyStore(Copying()), queue.SimpleQueue[events.Event]()
    clock, none = Clock(), lambda complete: None
    reports = Reports(lambda *_, **facts: None, stored.put)
    uploader = Uploader(store, spool, reports, (), none, Retention(2), clock=clock)

    def work(operation: str, key: str) -> None:
        if operation == "put" and str(name_of(2)) not in key:
            clock.advance(1)

    def drain(operation: str, key: str) -> None:
        if operation == "put":
            store.before = work
            save_large(spool, name_of(4), filled=b"4")
            uploader.add(name_of(4))
            uploader.hurry(clock() + 3)

    uploader.start()
    store.before = work
    for number in (1, 2):
        save_large(spool, name_of(number), changed=2 * PART * (number - 1))
        uploader.add(name_of(number))
        assert stored.get(timeout=30) == events.PairStored(str(name_of(number)))
    save_large(spool, name_of(3), filled=b"3")
    store.before = drain
    uploader.add(name_of(3))
    assert stored.get(timeout=30) == events.PairStored(str(name_of(4)))
    uploader.close()

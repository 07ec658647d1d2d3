"""How the doctor's facts are gathered: each fault is made, and must be found."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fakes.clocks import Clock
from fakes.stores import FlakyStore, LaxStore, MemoryStore
from holdfast.core.errors import Permanent, Transient
from holdfast.store import Store
from holdfast.store.conditional_write_fallback import Supported
from holdfast.supervisor.doctor import StoreFacts
from holdfast.supervisor.doctor.probe_store import StoreProbe

DENIED = Permanent("AccessDenied")
EVERY = ("list", "put", "get", "delete")


def probe(store: Store, scratch: Path, size: int = 1000, clock: Callable[[], float] = time.perf_counter) -> StoreFacts:
    return StoreProbe(store, scratch, "holdfast-doctor-1", clock).facts(size)


def denying(operation: str, store: Store | None = None) -> FlakyStore:
    return FlakyStore(store or MemoryStore()).fail(operation, DENIED, times=99)


# --- rights --------------------------------------------------------------------------------------------------------


def test_a_good_store_passes_and_nothing_is_left_in_it(scratch: Path) -> None:
    store = MemoryStore()
    facts = probe(store, scratch)
    assert facts.tried == EVERY
    assert (facts.denied, facts.left) == ({}, ())
    assert facts.kept == Supported(create=True, replace=True)
    assert store.objects == {}
    assert all(key.startswith("holdfast-doctor-1.") for key in store.writes)


def test_a_store_that_is_read_only_is_found(scratch: Path) -> None:
    store = MemoryStore()
    facts = probe(denying("put", denying("create", store)), scratch)
    assert facts.denied == {"put": "AccessDenied"}
    assert (facts.kept, facts.unkept) == (None, "")
    assert (facts.put_rate, facts.get_rate) == (None, None)
    assert store.writes == []


def test_a_store_whose_delete_fails_is_found_and_what_is_left_is_named(scratch: Path) -> None:
    facts = probe(denying("delete"), scratch)
    assert facts.denied == {"delete": "AccessDenied"}
    assert facts.left == (
        "holdfast-doctor-1.bulk",
        "holdfast-doctor-1.conditions",
        "holdfast-doctor-1.conditions-replaced",
    )


def test_a_store_that_cannot_be_read_is_found(scratch: Path) -> None:
    store = MemoryStore()
    facts = probe(denying("fetch", denying("get", store)), scratch)
    assert facts.denied == {"get": "AccessDenied"}
    assert facts.round_trip is None
    assert store.objects == {}


def test_a_store_that_cannot_be_listed_is_found_and_still_cleaned(scratch: Path) -> None:
    store = MemoryStore()
    assert probe(denying("list", store), scratch).denied == {"list": "AccessDenied"}
    assert store.objects == {}


def test_a_store_that_is_away_is_not_asked_over_and_over(scratch: Path) -> None:
    flaky = FlakyStore(MemoryStore())
    flaky.outage = Transient("away")
    asked: list[str] = []
    flaky.before = lambda operation, key: asked.append(operation)
    facts = probe(flaky, scratch)
    assert facts.denied == {"list": "away", "put": "away"}
    assert asked == ["list", "put"]


def test_a_store_that_gives_back_other_bytes_is_found(scratch: Path) -> None:
    class Liar(MemoryStore):
        def fetch(self, key: str, path: Path, most: int | None = None) -> None:
            path.write_bytes(b"something else")

    assert probe(Liar(), scratch).denied == {"get": "what came back is not what was put"}


def test_a_store_that_takes_no_parts_is_found(scratch: Path) -> None:
    class NoParts(MemoryStore):
        def try_parts(self, key: str) -> None:
            raise DENIED

    facts = probe(NoParts(), scratch)
    assert facts.denied == {"parts": "AccessDenied"}
    assert facts.tried == ("list", "put", "get", "parts", "delete")


# --- conditional writes --------------------------------------------------------------------------------------------


def test_a_store_that_ignores_conditions_is_found(scratch: Path) -> None:
    store = LaxStore(create="ignored", replace="ignored")
    assert probe(store, scratch).kept == Supported(create=False, replace=False)
    assert store.objects == {}


def test_a_store_that_compares_bare_tags_is_found(scratch: Path) -> None:
    assert probe(LaxStore(replace="bare"), scratch).kept == Supported(create=True, replace=True, quotes=False)


def test_a_store_that_does_not_know_a_condition_is_found(scratch: Path) -> None:
    assert probe(denying("replace"), scratch).kept == Supported(create=True, replace=False)


def test_conditions_that_fail_for_another_reason_are_told(scratch: Path) -> None:
    facts = probe(FlakyStore(MemoryStore()).fail("create", Transient("500 InternalError"), times=99), scratch)
    assert (facts.kept, facts.unkept) == (None, "500 InternalError")


# --- measurements --------------------------------------------------------------------------------------------------


def test_rates_and_round_trips_are_measured(scratch: Path) -> None:
    clock = Clock()
    flaky = FlakyStore(MemoryStore())
    takes = {"put": 4.0, "fetch": 2.0, "get": 0.5}
    flaky.before = lambda operation, key: clock.advance(takes.get(operation, 0.0))
    facts = probe(flaky, scratch, size=1000, clock=clock)
    assert (facts.put_rate, facts.get_rate, facts.round_trip) == (250.0, 500.0, 0.5)


def test_a_probe_of_no_size_measures_no_rates(scratch: Path) -> None:
    facts = probe(MemoryStore(), scratch, size=0)
    assert (facts.put_rate, facts.get_rate) == (None, None)
    assert facts.denied == {}


class Server(MemoryStore):
    """A store whose server has a clock."""

    def __init__(self, there: datetime) -> None:
        super().__init__()
        self._there = there

    def server_time(self) -> datetime:
        return self._there


def test_the_clocks_difference_is_taken_at_the_middle_of_the_round_trip(scratch: Path) -> None:
    there = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
    walls = itertools.chain([there + timedelta(seconds=1000), there + timedelta(seconds=1002)])
    facts = StoreProbe(Server(there), scratch, "p", Clock(), lambda: next(walls)).facts(0)
    assert facts.skew == 1001.0


def test_a_store_without_a_clock_has_no_skew(scratch: Path) -> None:
    assert probe(MemoryStore(), scratch).skew is None

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from fakes.stores import FlakyStore, LaxStore, MemoryStore
from holdfast.core.errors import Conflict, NotFound, Permanent, StoreError, Transient
from holdfast.store import Entry, Store
from holdfast.store.conditional_write_fallback import MEMORY, PROBE, Conditional, Supported, probe
from store.conformance import Make, StoreConformance


def at_once(seconds: float) -> None:
    """Instead of waiting."""


def conditional(store: Store, said: list[str] | None = None) -> Conditional:
    return Conditional(store, (said if said is not None else []).append, at_once)


def tried(store: Store) -> Conditional:
    """What it supports is known; until then its objects of trial may be seen."""
    found = conditional(store)
    found.supported()
    return found


class TestConditionalOverAStoreThatKeepsItsConditions(StoreConformance):
    many = 12  # in memory, where nothing is listed in pages

    @pytest.fixture
    def make(self) -> Make:
        return lambda prefix: tried(MemoryStore())


class TestConditionalOverAStoreThatComparesBareTags(StoreConformance):
    many = 12  # in memory, where nothing is listed in pages

    @pytest.fixture
    def make(self) -> Make:
        return lambda prefix: tried(LaxStore(replace="bare"))


class TestConditionalOverAStoreThatIgnoresItsConditions(StoreConformance):
    many = 12  # in memory, where nothing is listed in pages
    exclusive = False  # the last writer wins, and another may have looked too early to see it

    @pytest.fixture
    def make(self) -> Make:
        return lambda prefix: tried(LaxStore(create="ignored", replace="ignored"))


class TestConditionalOverAStoreThatRefusesConditions(StoreConformance):
    many = 12  # in memory, where nothing is listed in pages
    exclusive = False

    @pytest.fixture
    def make(self) -> Make:
        return lambda prefix: tried(LaxStore(create="refused", replace="refused"))


class TestConditionalOverAStoreThatOnlyComparesBeforeItReplaces(StoreConformance):
    many = 12  # in memory, where nothing is listed in pages
    exclusive = False

    @pytest.fixture
    def make(self) -> Make:
        return lambda prefix: tried(LaxStore(create="ignored"))


# --- finding out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("create", "replace", "kept"),
    [
        ("kept", "kept", Supported(create=True, replace=True)),
        ("kept", "bare", Supported(create=True, replace=True, quotes=False)),
        ("kept", "ignored", Supported(create=True, replace=False)),
        ("kept", "refused", Supported(create=True, replace=False)),
        ("ignored", "kept", Supported(create=False, replace=True)),
        ("refused", "bare", Supported(create=False, replace=True, quotes=False)),
        ("ignored", "ignored", Supported(create=False, replace=False)),
        ("refused", "refused", Supported(create=False, replace=False)),
    ],
)
def test_what_a_store_keeps_is_found_out_by_trying(create: str, replace: str, kept: Supported) -> None:
    store = LaxStore(create, replace)
    assert probe(store) == kept
    assert store.objects == {}
    assert len(set(store.writes)) == 2
    assert all(key.startswith(PROBE) for key in store.writes)


def test_nothing_is_tried_before_the_first_conditional_write_and_then_once() -> None:
    memory = MemoryStore()
    store = conditional(memory)
    store.list("")
    store.delete("key")
    with pytest.raises(NotFound):
        store.get("key")
    assert memory.writes == []

    store.replace("key", b"2", store.create("key", b"1"))
    tries = len(memory.writes)
    store.create("other", b"")
    assert [key for key in memory.writes if not key.startswith(PROBE)] == ["key", "key", "other"]
    assert len(memory.writes) == tries + 1


def test_writers_that_start_together_try_it_once() -> None:
    memory = MemoryStore()
    store = conditional(memory)
    together(*[partial(store.create, f"key-{number}", b"") for number in range(8)])
    assert store.supported() == Supported(create=True, replace=True)
    assert len({key for key in memory.writes if key.startswith(PROBE)}) == 2, "two objects of one trial"


@pytest.mark.parametrize(
    ("create", "replace", "what"),
    [
        ("ignored", "kept", "create-only writes"),
        ("refused", "kept", "create-only writes"),
        ("kept", "ignored", "compare before it replaces"),
        ("kept", "refused", "compare before it replaces"),
        ("ignored", "refused", "no conditional writes"),
    ],
)
def test_what_is_missing_is_said_once_with_what_it_means_and_what_to_do(create: str, replace: str, what: str) -> None:
    said: list[str] = []
    store = conditional(LaxStore(create, replace), said)
    store.replace("key", b"2", store.create("key", b"1"))
    assert len(said) == 1
    for part in ("memory: ", what, "may both train it", "a store with conditional writes"):
        assert part in said[0]
    assert "\n" not in said[0]


@pytest.mark.parametrize("replace", ["kept", "bare"])
def test_a_store_that_keeps_all_is_not_talked_about(replace: str) -> None:
    said: list[str] = []
    conditional(LaxStore(replace=replace), said).create("key", b"")
    assert said == []


@pytest.mark.parametrize("operation", ["create", "replace", "put"])
@pytest.mark.parametrize("after", [False, True])
def test_a_store_that_fails_meanwhile_is_tried_again_the_next_time(operation: str, after: bool) -> None:
    memory = LaxStore(create="refused" if operation == "put" else "ignored")
    said: list[str] = []
    flaky = FlakyStore(memory).fail(operation, Transient("away"), after=after, suffix=suffix_of_trial(operation))
    store = conditional(flaky, said)
    with pytest.raises(Transient, match="away"):
        store.supported()
    assert memory.objects == {}
    assert said == []

    store.create("key", b"data")
    assert store.supported() == Supported(create=False, replace=True)
    assert memory.objects == {"key": b"data"}
    assert len(said) == 1


def suffix_of_trial(operation: str) -> str:
    """Of the object with which an operation is tried."""
    return "-replaced" if operation == "replace" else ""


def test_a_create_whose_worth_cannot_be_found_out_fails_and_writes_nothing_twice() -> None:
    memory = MemoryStore()
    flaky = FlakyStore(memory)

    def fail_the_trial(operation: str, key: str) -> None:
        if operation == "create" and key.startswith(PROBE):
            raise Transient("away")

    flaky.before = fail_the_trial
    store = conditional(flaky)
    with pytest.raises(Transient, match="away"):
        store.create("key", b"data")
    flaky.before = lambda operation, key: None
    with pytest.raises(Conflict):
        store.create("key", b"other")
    assert memory.objects["key"] == b"data"


@pytest.mark.parametrize("how", ["kept", "ignored", "refused"])
def test_while_it_is_tried_what_is_there_is_not_overwritten(how: str) -> None:
    lax = LaxStore(create=how)
    LaxStore.create(lax, "key", b"first") if how != "refused" else lax.objects.update(key=b"first")
    with pytest.raises(Conflict):
        conditional(lax).create("key", b"second")
    assert lax.objects["key"] == b"first"


@pytest.mark.parametrize("how", ["ignored", "refused"])
def test_while_it_is_tried_a_write_without_a_condition_is_read_back(how: str) -> None:
    lax = LaxStore(create=how)
    store = Conditional(lax, lambda text: None, lambda seconds: lax.delete("key"))
    with pytest.raises(Conflict, match="in the same moment"):
        store.create("key", b"data")


# --- what an earlier start learned -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["kept", "bare", "ignored"])
def test_what_an_earlier_start_learned_is_not_tried_again(how: str) -> None:
    lax = LaxStore(replace=how)
    first, said = tried(lax), list[str]()
    tries = len(lax.writes)
    second = conditional(lax, said)
    second.recall(json.loads(json.dumps(first.learned())))
    second.replace("key", b"2", second.create("key", b"1"))
    assert second.supported() == first.supported()
    assert lax.writes[tries:] == ["key", "key"]
    assert len(said) == (how == "ignored"), "what is missing is said at each start"


class AtAnAddress(MemoryStore):
    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self.endpoint = endpoint


@pytest.mark.parametrize("memory", [None, "x", [], {}, {"of": "memory: at ", "create": 1, "replace": True}])
def test_a_memory_that_makes_no_sense_is_none(memory: object) -> None:
    store = conditional(MemoryStore())
    store.recall(memory)
    assert store.learned() is None


def test_what_was_learned_long_ago_is_tried_again() -> None:
    """What answers there may be another product by now."""
    learned = tried(MemoryStore()).learned()
    later = time.time() + MEMORY + 60
    store = Conditional(MemoryStore(), lambda text: None, at_once, wall=lambda: later)
    store.recall(learned)
    assert store.learned() is None


def test_what_is_passed_on_from_start_to_start_grows_old_all_the_same() -> None:
    learned = tried(MemoryStore()).learned()
    soon = time.time() + MEMORY / 2
    store = Conditional(MemoryStore(), lambda text: None, at_once, wall=lambda: soon)
    store.recall(learned)
    assert store.learned() == learned


def test_what_was_learned_of_another_address_counts_for_nothing() -> None:
    learned = tried(AtAnAddress("https://one.example")).learned()
    store = conditional(AtAnAddress("https://other.example"))
    store.recall(learned)
    assert store.learned() is None


def test_missing_rights_are_not_taken_for_missing_conditions() -> None:
    said: list[str] = []
    flaky = FlakyStore(MemoryStore())
    flaky.outage = Permanent("AccessDenied")
    with pytest.raises(Permanent, match="AccessDenied"):
        conditional(flaky, said).create("key", b"")
    assert said == []


def test_a_probe_that_cannot_be_deleted_is_no_failure() -> None:
    flaky = FlakyStore(MemoryStore()).fail("delete", Permanent("AccessDenied"))
    tried(flaky).create("key", b"")


# --- helping out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["ignored", "refused"])
def test_of_two_creators_that_meet_one_wins(how: str) -> None:
    lax = LaxStore(create=how)
    results = together(*[partial(store.create, "key", b"%d" % n) for n, store in enumerate(meeting(lax))])
    check_one_won(lax, results)


@pytest.mark.parametrize("how", ["ignored", "refused"])
def test_of_two_replacers_that_meet_one_wins(how: str) -> None:
    lax = LaxStore(replace=how)
    lax.create("key", b"first")
    tag = lax.get("key")[1]
    results = together(*[partial(store.replace, "key", b"%d" % n, tag) for n, store in enumerate(meeting(lax))])
    check_one_won(lax, results)


def test_an_emulated_write_gives_others_the_moment_that_it_was_told() -> None:
    waits: list[float] = []
    store = Conditional(LaxStore(create="ignored", replace="ignored"), lambda text: None, waits.append, moment=0.25)
    store.replace("key", b"2", store.create("key", b"1"))
    assert waits == [0.25, 0.25]


def test_a_write_that_is_deleted_in_the_same_moment_is_a_conflict() -> None:
    lax = LaxStore(create="ignored")
    store = Conditional(lax, lambda text: None, lambda seconds: lax.delete("key"))
    with pytest.raises(Conflict, match="in the same moment"):
        store.create("key", b"data")


def test_a_store_that_keeps_its_conditions_is_not_waited_for() -> None:
    def wait(seconds: float) -> None:
        raise AssertionError("nothing to wait for")

    store = Conditional(LaxStore(replace="bare"), lambda text: None, wait)
    store.replace("key", b"2", store.create("key", b"1"))
    assert store.list("") == [Entry("key", 1)]


def meeting(lax: LaxStore) -> list[Conditional]:
    """Two machines' views of one store: each looks before either writes, and writes before either looks again."""
    looked, wrote = threading.Barrier(2, timeout=30), threading.Barrier(2, timeout=30)

    def machine() -> Conditional:
        flaky = FlakyStore(lax)
        store = Conditional(flaky, lambda text: None, lambda seconds: wait_at(wrote))
        store.supported()

        def before(operation: str, key: str) -> None:
            if operation == "put":  # it has looked, and found that it may
                looked.wait()

        flaky.before = before
        return store

    return [machine(), machine()]


def wait_at(barrier: threading.Barrier) -> None:
    barrier.wait()


def together(*calls: Callable[[], object]) -> list[object]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [_outcome(future.exception()) for future in [pool.submit(call) for call in calls]]


def _outcome(error: BaseException | None) -> object:
    if error is not None and not isinstance(error, StoreError):
        raise error
    return type(error)


def check_one_won(lax: LaxStore, results: list[object]) -> None:
    assert sorted(map(str, results)) == sorted(map(str, [type(None), Conflict]))
    assert lax.objects["key"] == b"%d" % results.index(type(None))

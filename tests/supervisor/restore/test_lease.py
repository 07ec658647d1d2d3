from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from fakes.clocks import Clock, Passing
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import Cancelled, Conflict, Fenced, Transient
from holdfast.core.policy import LeaseTimes
from holdfast.store import Store
from holdfast.store.s3 import SMALL_TIMEOUT
from holdfast.supervisor.restore.lease import Lease, boot_time

KEY = "00001-digits/lease.json"
TIMES = LeaseTimes(heartbeat=10, expiry=30, wait=900)
QUICK = replace(TIMES, heartbeat=0.001)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> Clock:
    return Clock(5000.0)


def lease(
    store: Store,
    clock: Clock,
    spool: str = "here",
    times: LeaseTimes = TIMES,
    on_lost: Callable[[str], None] = lambda holder: None,
    sign: Callable[[], Mapping[str, Any] | None] = lambda: None,
) -> Lease:
    return Lease(store, KEY, spool, times, on_lost, clock, sign=sign)


def held(store: Store, spool: str = "there", floor: int = 0, times: LeaseTimes = TIMES) -> Lease:
    """A lease that another machine has, whose clock shows something else."""
    clock = Clock(7.0)
    other = lease(store, clock, spool, times)
    other.acquire(floor, Passing(clock), lambda holder: None)
    return other


def acquire(mine: Lease, clock: Clock, floor: int = 0, cancelled: Passing | None = None) -> int:
    return mine.acquire(floor, cancelled or Passing(clock), lambda holder: None)


def document(store: MemoryStore) -> dict[str, object]:
    content: dict[str, object] = json.loads(store.objects[KEY])
    return content


# --- taking it -----------------------------------------------------------------------------------------------------


def test_the_first_holder_gets_an_incarnation_above_the_floor_at_once(store: MemoryStore, clock: Clock) -> None:
    mine = lease(store, clock)
    assert acquire(mine, clock, floor=6) == mine.incarnation == 7
    assert clock.now == 5000


def test_incarnations_grow_even_where_the_floor_does_not(store: MemoryStore, clock: Clock) -> None:
    held(store, floor=41).release()
    assert acquire(lease(store, clock), clock) == 43


def test_a_silent_holder_is_replaced_after_the_expiry_on_the_observers_clock(store: MemoryStore, clock: Clock) -> None:
    held(store, floor=3)
    assert acquire(lease(store, clock), clock) == 5
    assert clock.now == 5030


def test_every_renewal_that_the_observer_sees_restarts_the_count(store: MemoryStore, clock: Clock) -> None:
    other = held(store)
    waiting = Passing(clock).at(5020, other.renew).at(5049, other.renew)
    acquire(lease(store, clock), clock, cancelled=waiting)
    assert clock.now == 5049 + 30


def test_a_store_that_fails_now_and_then_does_not_keep_a_silent_holder_alive(store: MemoryStore, clock: Clock) -> None:
    """Whoever waits goes on with what it has seen; only the time without an answer does not count."""
    held(store)
    flaky = FlakyStore(store)
    mine, waiting = lease(flaky, clock), Passing(clock)
    for second in (5010, 5020, 5030):
        waiting.at(second, lambda: flaky.fail("get", Transient("away")))
    for _ in range(3):
        with pytest.raises(Transient):
            acquire(mine, clock, cancelled=waiting)
        clock.advance(1)
    acquire(mine, clock, cancelled=waiting)
    assert clock.now == 5000 + 30 + 3 * 2, "a failed look costs the second before it and the one after it"


def test_an_outage_is_no_silence_of_the_holder(store: MemoryStore, clock: Clock) -> None:
    """It could not renew either: it is given its time once the store answers again."""
    held(store)
    flaky = FlakyStore(store)
    mine = lease(flaky, clock)
    with pytest.raises(Transient):
        acquire(mine, clock, cancelled=Passing(clock).at(5010, lambda: flaky.fail("get", Transient("away"))))
    clock.advance(3600)
    acquire(mine, clock)
    assert clock.now == 5010 + 3600 + 30 - 9


def test_the_wait_goes_on_over_failures_of_the_store(store: MemoryStore, clock: Clock) -> None:
    other, flaky = held(store), FlakyStore(store)
    mine, waiting = lease(flaky, clock, times=replace(TIMES, wait=60)), Passing(clock)
    for second in range(5001, 5200, 2):
        waiting.at(second, other.renew)
    waiting.at(5040, lambda: flaky.fail("get", Transient("away")))
    with pytest.raises(Transient):
        acquire(mine, clock, cancelled=waiting)
    with pytest.raises(Fenced):
        acquire(mine, clock, cancelled=waiting)
    assert clock.now == 5061


def test_a_holder_with_a_longer_expiry_is_given_its_time(store: MemoryStore, clock: Clock) -> None:
    held(store, times=replace(TIMES, expiry=60))
    acquire(lease(store, clock), clock)
    assert clock.now == 5060


def test_an_incredible_expiry_in_the_lease_is_not_waited_for(store: MemoryStore, clock: Clock) -> None:
    held(store, times=replace(TIMES, expiry=1e9))
    acquire(lease(store, clock), clock)
    assert clock.now == 5030


def test_a_holder_that_fell_silent_has_said_how_far_it_came(store: MemoryStore, clock: Clock) -> None:
    signs = [{"seen": 7.0}, {"seen": 17.0, "step": 40, "executed": 50, "validated": 2.5}]
    other = lease(store, clock, "there", sign=lambda: signs[0])
    acquire(other, clock)
    del signs[0]
    other.renew()
    mine = lease(store, clock)
    acquire(mine, clock)
    assert mine.before is not None
    beat = mine.before.heartbeat[1]
    assert (beat.at, beat.number("step"), beat.number("executed"), beat.number("validated")) == (17.0, 40, 50, 2.5)
    mine.release()
    third = lease(store, clock)
    acquire(third, clock)
    assert third.before is not None
    assert third.before.heartbeat == {}, "it had time to store its events"


def test_a_released_lease_is_taken_at_once(store: MemoryStore, clock: Clock) -> None:
    held(store).release()
    assert acquire(lease(store, clock), clock) == 2
    assert clock.now == 5000


def test_a_release_while_waiting_is_noticed_with_the_next_look(store: MemoryStore, clock: Clock) -> None:
    other = held(store)
    acquire(lease(store, clock), clock, cancelled=Passing(clock).at(5010, other.release))
    assert clock.now == 5010


def test_the_lease_of_a_dead_process_on_the_same_work_dir_is_taken_at_once(store: MemoryStore, clock: Clock) -> None:
    held(store, spool="here")
    assert acquire(lease(store, clock, spool="here"), clock) == 2
    assert clock.now == 5000


@pytest.mark.parametrize(("last", "continues"), [("", True), ("here", True), ("there", False)])
def test_it_is_known_whether_another_machine_had_the_run_since(
    store: MemoryStore, clock: Clock, last: str, continues: bool
) -> None:
    if last:
        held(store, last).release()
    flaky = FlakyStore(store)
    mine = lease(flaky, clock)
    flaky.fail("replace", Transient("no answer"), after=True, times=int(bool(last)))
    with contextlib.suppress(Transient):
        acquire(mine, clock)
    acquire(mine, clock)
    assert mine.continues is continues, "also if the answer to the taking was lost"


def test_whoever_waits_is_told_for_whom(store: MemoryStore, clock: Clock) -> None:
    held(store, floor=8)
    told: list[str] = []
    lease(store, clock).acquire(0, Passing(clock), told.append)
    assert len(told) == 30
    assert all("incarnation 9" in holder for holder in told)


@pytest.mark.parametrize(("theirs", "silence"), [(10.0, 30.0), (120.0, 120.0)])
def test_whoever_waits_knows_how_long_the_holder_must_be_silent(
    store: MemoryStore, clock: Clock, theirs: float, silence: float
) -> None:
    held(store, times=replace(TIMES, expiry=theirs))
    mine = lease(store, clock)
    known: list[float] = []
    mine.acquire(0, Passing(clock), lambda holder: known.append(mine.silence))
    assert set(known) == {silence}


def test_when_the_wait_is_over_the_lease_is_refused_with_its_holder_named(store: MemoryStore, clock: Clock) -> None:
    other = held(store)
    waiting = Passing(clock)
    for second in range(5005, 5200, 5):
        waiting.at(second, other.renew)
    with pytest.raises(Fenced, match=r"incarnation 1.*--lease-wait 120 s"):
        acquire(lease(store, clock, times=replace(TIMES, wait=120)), clock, cancelled=waiting)
    assert clock.now == 5120


def test_waiting_ends_when_it_is_cancelled(store: MemoryStore, clock: Clock) -> None:
    held(store)
    waiting = Passing(clock)
    with pytest.raises(Cancelled):
        acquire(lease(store, clock), clock, cancelled=waiting.at(5012, waiting.set))
    assert clock.now == 5012


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"\xff\x00", b"not json", b"[1, 2]", b"{}", b"null", b'{"incarnation": "9", "expiry": NaN}', b"[" * 100_000],
    ids=["empty", "bytes", "text", "list", "object", "null", "types", "depth"],
)
def test_an_unreadable_lease_is_waited_out_and_then_replaced(store: MemoryStore, clock: Clock, rubbish: bytes) -> None:
    store.create(KEY, rubbish)
    assert acquire(lease(store, clock), clock, floor=12) == 13
    assert clock.now == 5030
    assert document(store)["incarnation"] == 13


def test_a_lease_of_absurd_size_is_waited_out_as_well_and_said_to_be_so(store: MemoryStore, clock: Clock) -> None:
    store.create(KEY, bytes(2 << 20))
    told: list[str] = []
    assert lease(store, clock).acquire(12, Passing(clock), told.append) == 13
    assert clock.now == 5030
    assert set(told) == {"an unreadable holder, whose lease is far too large (incarnation 0)"}


def test_a_taker_that_loses_the_race_for_an_expired_lease_goes_on_waiting(store: MemoryStore, clock: Clock) -> None:
    held(store)
    flaky = FlakyStore(store).fail("replace", Conflict("somebody was faster"))
    assert acquire(lease(flaky, clock), clock) == 2
    assert clock.now == 5031


def test_a_taker_whose_answer_was_lost_takes_it_again(store: MemoryStore, clock: Clock) -> None:
    mine = lease(FlakyStore(store).fail("create", Transient("no answer"), after=True), clock)
    with pytest.raises(Transient):
        acquire(mine, clock)
    assert acquire(mine, clock) == 2
    assert clock.now == 5000


# --- keeping it ----------------------------------------------------------------------------------------------------


def test_every_renewal_changes_the_lease_so_that_observers_see_it(store: MemoryStore) -> None:
    mine = held(store)
    tags = [store.get(KEY)[1]]
    for _ in range(3):
        mine.renew()
        tags.append(store.get(KEY)[1])
    assert len(set(tags)) == 4


def test_a_renewal_after_a_takeover_is_fenced_and_names_the_new_holder(store: MemoryStore, clock: Clock) -> None:
    old = held(store)
    acquire(lease(store, clock), clock)
    taken = store.objects[KEY]
    with pytest.raises(Fenced, match="incarnation 2"):
        old.renew()
    assert store.objects[KEY] == taken


def test_a_renewal_that_arrived_though_a_conflict_was_answered_counts(store: MemoryStore) -> None:
    flaky = FlakyStore(store)
    mine = held(flaky)
    flaky.fail("replace", Conflict("a retry of the connection's"), after=True)
    for _ in range(3):
        mine.renew()
    assert document(store)["incarnation"] == 1


def test_a_renewal_that_arrived_without_an_answer_is_recovered_by_the_next(store: MemoryStore) -> None:
    flaky = FlakyStore(store)
    mine = held(flaky)
    flaky.fail("replace", Transient("no answer"), after=True)
    with pytest.raises(Transient):
        mine.renew()
    for _ in range(3):
        mine.renew()
    assert document(store)["incarnation"] == 1


def test_who_watches_sees_a_change_with_the_renewal_after_one_without_an_answer(store: MemoryStore) -> None:
    flaky = FlakyStore(store)
    mine = held(flaky)
    flaky.fail("replace", Transient("no answer"), after=True)
    with pytest.raises(Transient):
        mine.renew()
    before = store.get(KEY)[1]
    mine.renew()
    assert store.get(KEY)[1] != before


def test_a_lease_that_changes_under_each_renewal_is_tried_again_later(store: MemoryStore) -> None:
    """By its own holder's writes, which arrive late; a renewal must not try for ever."""
    flaky = FlakyStore(store)
    mine = held(flaky)
    flaky.fail("replace", Conflict("changed meanwhile"), times=3)
    with pytest.raises(Transient):
        mine.renew()
    mine.renew()


# --- making sure of it ---------------------------------------------------------------------------------------------


def test_who_renewed_a_moment_ago_is_sure_of_the_lease(store: MemoryStore, clock: Clock) -> None:
    mine = lease(store, clock)
    acquire(mine, clock)
    clock.advance(14)
    mine.make_sure()
    assert len(store.versions[KEY]) == 1
    assert not mine.expired


def test_who_has_not_renewed_for_a_while_is_sure_once_it_does(store: MemoryStore, clock: Clock) -> None:
    mine = lease(store, clock)
    acquire(mine, clock)
    clock.advance(3600)
    assert mine.expired
    mine.make_sure()
    assert len(store.versions[KEY]) == 2
    assert not mine.expired
    mine.make_sure()
    assert len(store.versions[KEY]) == 2


def test_a_renewal_counts_from_when_it_was_sent(store: MemoryStore, clock: Clock) -> None:
    """Its answer may take its time, and who watches saw the change before."""
    flaky = FlakyStore(store)
    mine = lease(flaky, clock)
    acquire(mine, clock)
    flaky.before = lambda operation, key: clock.advance(20)
    mine.renew()
    flaky.before = lambda operation, key: None
    mine.make_sure()
    assert len(store.versions[KEY]) == 3


@pytest.mark.parametrize("after", [False, True], ids=["not arrived", "arrived without an answer"])
def test_who_cannot_renew_is_not_sure(store: MemoryStore, clock: Clock, after: bool) -> None:
    flaky = FlakyStore(store)
    mine = lease(flaky, clock)
    acquire(mine, clock)
    clock.advance(20)
    flaky.fail("replace", Transient("away"), after=after)
    with pytest.raises(Transient):
        mine.make_sure()
    mine.make_sure()


def test_who_was_replaced_finds_out_before_it_does_anything_and_tells_it_once(store: MemoryStore, clock: Clock) -> None:
    lost: list[str] = []
    old = lease(store, clock, spool="there", on_lost=lost.append)
    acquire(old, clock)
    acquire(lease(store, clock), clock)
    for _ in range(3):
        with pytest.raises(Fenced):
            old.make_sure()
    assert len(lost) == 1
    assert "incarnation 2" in lost[0]


def test_a_lease_that_was_given_back_is_not_taken_again_by_who_wants_to_be_sure(
    store: MemoryStore, clock: Clock
) -> None:
    lost: list[str] = []
    mine = lease(store, clock, on_lost=lost.append)
    acquire(mine, clock)
    mine.release()
    with pytest.raises(Fenced):
        mine.make_sure()
    assert document(store)["state"] == "released"
    assert lost == []


def test_a_lease_that_was_deleted_is_made_anew_by_its_holder(store: MemoryStore) -> None:
    mine = held(store, floor=4)
    store.delete(KEY)
    mine.renew()
    mine.renew()
    assert document(store)["incarnation"] == 5


def test_the_loss_of_a_kept_lease_is_told_once(store: MemoryStore, clock: Clock) -> None:
    lost: list[str] = []
    told = threading.Event()

    def on_lost(holder: str) -> None:
        lost.append(holder)
        told.set()

    mine = lease(store, clock, times=QUICK, on_lost=on_lost)
    acquire(mine, clock)
    mine.keep()
    held(store, spool="here")
    assert told.wait(timeout=30)
    wait_for_the_end_of_renewing()
    assert len(lost) == 1
    assert "incarnation 2" in lost[0]


def wait_for_the_end_of_renewing() -> None:
    for thread in threading.enumerate():
        if thread.name == "lease":
            thread.join(timeout=30)
            assert not thread.is_alive()


def test_a_kept_lease_survives_an_outage_of_the_store(store: MemoryStore, clock: Clock) -> None:
    lost: list[str] = []
    renewed = threading.Semaphore(0)
    flaky = FlakyStore(store)
    mine = lease(flaky, clock, times=QUICK, on_lost=lost.append)
    acquire(mine, clock)
    flaky.before = lambda operation, key: renewed.release()
    flaky.outage = Transient("away")
    mine.keep()
    assert all(renewed.acquire(timeout=30) for _ in range(3))
    flaky.outage = None
    while len(store.versions[KEY]) == 1:  # beats that failed may be counted still
        assert renewed.acquire(timeout=30)
    mine.stop()
    assert lost == []


def test_a_kept_lease_survives_a_defect_which_is_told(store: MemoryStore, clock: Clock) -> None:
    told: list[Exception] = []
    renewed = threading.Semaphore(0)
    flaky = FlakyStore(store)
    mine = Lease(flaky, KEY, "here", QUICK, lambda who: None, clock, told.append)
    acquire(mine, clock)

    def stumble(operation: str, key: str) -> None:
        flaky.before = lambda operation, key: renewed.release()
        raise ValueError("a defect")

    flaky.before = stumble
    mine.keep()
    assert all(renewed.acquire(timeout=30) for _ in range(3))
    mine.stop()
    assert [repr(error) for error in told] == ["ValueError('a defect')"]


def test_heartbeats_that_hang_leave_time_for_another_before_a_living_holder_is_taken_for_dead(
    store: MemoryStore, clock: Clock
) -> None:
    """Two of them in a row, each for as long as a small write to S3 may."""
    flaky, ended = FlakyStore(store), Passing(clock)
    mine = lease(flaky, clock)
    acquire(mine, clock)
    beats: list[float] = []

    def beat(operation: str, key: str) -> None:
        if operation != "replace":
            return
        beats.append(clock.now)
        if len(beats) == 3:
            ended.set()
            return
        clock.advance(SMALL_TIMEOUT)
        raise Transient("no answer")

    flaky.before = beat
    mine.keep_until(ended)
    assert len(beats) == 3
    assert beats[-1] + SMALL_TIMEOUT < 5000 + TIMES.expiry


# --- giving it back ------------------------------------------------------------------------------------------------


def test_a_lease_that_was_never_held_is_not_released(store: MemoryStore, clock: Clock) -> None:
    held(store)
    writes = list(store.writes)
    lease(store, clock).release()
    assert store.writes == writes


def test_a_second_release_does_nothing(store: MemoryStore, clock: Clock) -> None:
    flaky = FlakyStore(store)
    mine = held(flaky)
    mine.release()
    acquire(lease(store, clock), clock)
    flaky.outage = Transient("not to be asked at all")
    mine.release()
    assert document(store)["state"] == "held"


@pytest.mark.parametrize("after", [False, True], ids=["not arrived", "arrived without an answer"])
def test_a_release_that_failed_can_be_repeated(store: MemoryStore, after: bool) -> None:
    flaky = FlakyStore(store)
    mine = held(flaky)
    flaky.fail("replace", Transient("away"), after=after)
    with pytest.raises(Transient):
        mine.release()
    mine.release()
    assert document(store)["state"] == "released"


def test_a_release_after_a_renewal_without_an_answer_gives_the_lease_back(store: MemoryStore) -> None:
    flaky = FlakyStore(store)
    mine = held(flaky)
    flaky.fail("replace", Transient("no answer"), after=True)
    with pytest.raises(Transient):
        mine.renew()
    mine.release()
    assert document(store)["state"] == "released"


def test_a_release_after_a_takeover_leaves_the_new_holder_alone(store: MemoryStore, clock: Clock) -> None:
    old = held(store)
    acquire(lease(store, clock), clock)
    old.release()
    assert document(store) == document(store) | {"state": "held", "incarnation": 2}


@pytest.mark.parametrize("taken", [True, False])
def test_a_heartbeat_that_is_under_way_during_the_release_calls_nobody_a_thief(
    store: MemoryStore, clock: Clock, taken: bool
) -> None:
    """It comes to the store when the lease was given back, and may be another's already."""
    lost: list[str] = []
    flaky, beating, released = FlakyStore(store), threading.Event(), threading.Event()
    mine = lease(flaky, clock, times=QUICK, on_lost=lost.append)
    acquire(mine, clock)

    def hang(operation: str, key: str) -> None:
        flaky.before = lambda operation, key: None
        beating.set()
        assert released.wait(timeout=30)

    flaky.before = hang
    mine.keep()
    assert beating.wait(timeout=30)
    mine.release()
    if taken:
        acquire(lease(store, clock, spool="there"), clock)
    released.set()
    wait_for_the_end_of_renewing()
    assert lost == []
    assert document(store)["state"] == ("held" if taken else "released")


def test_stopping_leaves_the_lease_to_expire(store: MemoryStore, clock: Clock) -> None:
    held(store).stop()
    acquire(lease(store, clock), clock)
    assert clock.now == 5030


def test_the_clock_is_one_that_does_not_go_back() -> None:
    assert 0 < boot_time() <= boot_time()

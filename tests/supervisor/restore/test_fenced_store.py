from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.clocks import Clock, Passing
from fakes.pairs import name_of, save_pair
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import Fenced, Permanent, StoreError, Transient
from holdfast.core.policy import LeaseTimes
from holdfast.core.runs import RunId
from holdfast.spool import Spool
from holdfast.store import Store
from holdfast.store.catalog import list_pairs, remove_pair
from holdfast.supervisor.restore.fenced_store import FencedStore
from holdfast.supervisor.restore.lease import Lease
from holdfast.supervisor.restore.reopen import Reopened
from holdfast.supervisor.upload.store_pair import store_pair
from store.conformance import Make, StoreConformance

RUN = "00001-digits"
LEASE, BEST = f"{RUN}/lease.json", f"{RUN}/artifacts/best"
TIMES = LeaseTimes(heartbeat=10, expiry=30, wait=900)


class Holder:
    """A machine that holds the lease, and the store as it uses it."""

    def __init__(self, store: Store, clock: Clock, spool: str) -> None:
        self.lost: list[str] = []
        self.flaky = FlakyStore(store)
        self.lease = Lease(self.flaky, LEASE, spool, TIMES, self.lost.append, clock)
        self.lease.acquire(0, Passing(clock), lambda holder: None)
        self.store = FencedStore(self.flaky, self.lease)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """What is put."""
    path = tmp_path / "file"
    path.write_bytes(b"mine")
    return path


@pytest.fixture
def holder(memory: MemoryStore, clock: Clock) -> Holder:
    return Holder(memory, clock, "one")


Write = Callable[[Store, Path], object]
WRITES: dict[str, Write] = {
    "put": lambda store, path: store.put(BEST, path),
    "replace": lambda store, path: store.replace(BEST, b"mine", store.get(BEST)[1]),
    "delete": lambda store, path: store.delete(BEST),
    "complete": lambda store, path: store.create(f"{RUN}/complete.json", b"mine"),
    "sweep": lambda store, path: store.sweep(f"{RUN}/"),
    "log": lambda store, path: store.put(f"{RUN}/log-i1.txt", path),
    "prune": lambda store, path: remove_pair(store, RUN, name_of(1)),
    "reopen": lambda store, path: Reopened(store, RunId(1, "digits")).create(f"{RUN}/{name_of(9).file('json')}", b"1"),
}
writes = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


def anothers(memory: MemoryStore, tmp_path: Path) -> dict[str, bytes]:
    """What another machine has written, without its lease."""
    store_pair(memory, Spool(tmp_path / RUN), save_pair(Spool(tmp_path / RUN), name_of(1)).name)
    memory.create(BEST, b"its own")
    return without_lease(memory)


def without_lease(memory: MemoryStore) -> dict[str, bytes]:
    return {key: data for key, data in memory.objects.items() if key != LEASE}


class TestHeldStore(StoreConformance):
    """While the lease is held, it is the store."""

    many = 12  # in memory, where nothing is listed in pages

    @pytest.fixture
    def make(self, clock: Clock) -> Make:
        return lambda prefix: FencedStore(MemoryStore(), Holder(MemoryStore(), clock, "one").lease)


@writes
def test_a_holder_that_renewed_a_moment_ago_writes_at_once(
    memory: MemoryStore, tmp_path: Path, here: Path, holder: Holder, clock: Clock, write: Write
) -> None:
    before = anothers(memory, tmp_path)
    clock.advance(14)
    write(holder.store, here)
    assert len(memory.versions[LEASE]) == 1
    assert without_lease(memory) != before or memory.swept


@writes
def test_a_holder_that_did_not_renew_for_a_while_does_so_before_it_writes(
    memory: MemoryStore, tmp_path: Path, here: Path, holder: Holder, clock: Clock, write: Write
) -> None:
    before = anothers(memory, tmp_path)
    clock.advance(3600)
    write(holder.store, here)
    assert len(memory.versions[LEASE]) == 2
    assert without_lease(memory) != before or memory.swept


@writes
def test_a_holder_that_was_replaced_changes_nothing_and_says_so_once(
    memory: MemoryStore, tmp_path: Path, here: Path, holder: Holder, clock: Clock, write: Write
) -> None:
    Holder(memory, clock, "two")
    before = anothers(memory, tmp_path)
    for _ in range(2):
        with pytest.raises(Fenced, match="incarnation 2"):
            write(holder.store, here)
    assert without_lease(memory) == before
    assert memory.swept == []
    assert len(holder.lost) == 1


@pytest.mark.parametrize("error", [Transient("away"), Permanent("no rights")], ids=["away", "refused"])
@writes
def test_a_holder_that_cannot_renew_changes_nothing_and_says_so(
    memory: MemoryStore, tmp_path: Path, here: Path, holder: Holder, clock: Clock, write: Write, error: StoreError
) -> None:
    before = anothers(memory, tmp_path)
    clock.advance(3600)
    holder.flaky.fail("replace", error, suffix="lease.json")
    with pytest.raises(type(error), match=rf"is left as it is, since the lease cannot be renewed: {error}"):
        write(holder.store, here)
    assert without_lease(memory) == before
    assert memory.swept == []
    assert holder.lost == []


def test_a_pair_is_added_without_a_look_at_the_lease_as_no_other_has_its_name(
    memory: MemoryStore, tmp_path: Path, holder: Holder, clock: Clock
) -> None:
    """On a slow link the heartbeats may fail, and the last state must reach the store all the same."""
    clock.advance(3600)
    store_pair(holder.store, Spool(tmp_path / RUN), save_pair(Spool(tmp_path / RUN), name_of(1)).name)
    assert list_pairs(memory, RUN) == [name_of(1)]
    assert len(memory.versions[LEASE]) == 1


@pytest.mark.parametrize("replaced", [True, False])
def test_a_machine_that_was_suspended_while_it_sent_a_file_goes_on_only_if_it_was_not_replaced(
    memory: MemoryStore, tmp_path: Path, here: Path, holder: Holder, clock: Clock, replaced: bool
) -> None:
    anothers(memory, tmp_path)

    def suspended(operation: str, key: str) -> None:
        if operation == "put":
            holder.flaky.before = lambda operation, key: None
            clock.advance(3600)
            if replaced:
                Holder(memory, clock, "two")

    holder.flaky.before = suspended
    sent: list[int] = []
    if replaced:
        with pytest.raises(Fenced):
            holder.store.put(BEST, here, progress=sent.append)
    else:
        holder.store.put(BEST, here, progress=sent.append)
    assert memory.objects[BEST] == (b"its own" if replaced else b"mine")
    assert sum(sent) == (0 if replaced else 4)

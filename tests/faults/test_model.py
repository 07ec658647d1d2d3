"""Several holders, a store that fails, crashes at any moment, late writes: against a model of what must come of it.

Time passes when a rule says so, a store operation fails before or after its effect, and a process may die between any
two operations. What hypothesis found is kept below as cases of its own.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fakes.clocks import Clock, Passing
from fakes.pairs import name_of
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import Conflict, Fenced, NoValidPair, StoreError, Transient
from holdfast.core.manifest import PARTS, CheckpointName, FileRecord, Manifest
from holdfast.core.policy import Retention
from holdfast.spool import Spool, record_of
from holdfast.store.catalog import list_pairs, remove_pair
from holdfast.supervisor.commit import store_pair
from holdfast.supervisor.lease import Lease, LeaseTimes
from holdfast.supervisor.restore import bring_newest, candidates, is_whole, owed

RUN = "00001-model"
LEASE = f"{RUN}/lease.json"
TIMES = LeaseTimes(heartbeat=10, expiry=30, wait=0)
OPERATIONS = ("put", "create", "replace", "get", "fetch", "list", "delete")


class Crash(BaseException):
    """The process is gone, in the middle of whatever it did."""


@dataclass
class Process:
    """One start of a daemon on a machine. It holds the lease once ``incarnation`` is not 0."""

    lease: Lease
    spool: Spool
    incarnation: int = 0
    next_save: int = 0
    fenced: bool = False
    owed: set[CheckpointName] = field(default_factory=set)


Slot = st.integers(0, 2)
Upset = int | tuple[str, bool] | None
Trouble = st.none() | st.integers(0, 7) | st.tuples(st.sampled_from(OPERATIONS), st.booleans())
"""What goes wrong: nothing, death before the n-th operation, or one that fails, before or after its effect."""


class Holders(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.memory = MemoryStore()
        self.flaky = FlakyStore(self.memory)
        self.processes: dict[int, Process] = {}
        self.serial = itertools.count()
        self.stored: dict[CheckpointName, dict[str, bytes]] = {}
        self.incarnations: list[int] = []
        self.countdown: int | None = None
        self.flaky.before = self._before
        self.lease_writes: list[float] = []
        self.lease_written = 0.0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # --- what happens ----------------------------------------------------------------------------------------------

    @initialize()
    def one_of_them_holds_the_lease_and_has_stored_a_pair(self) -> None:
        for _ in range(5):
            self.go_on(0, None)

    @rule(slot=Slot, trouble=Trouble)
    def go_on(self, slot: int, trouble: Upset) -> None:
        """What a machine does when nothing disturbs it: start, take the lease and restore, save, upload."""
        process = self.processes.get(slot)
        if process is None:
            self._start(slot)
            self._look(slot, trouble)
        elif not process.incarnation:
            self._look(slot, trouble)
        else:
            self._save(process)
            self._upload(slot, process, trouble)

    @rule(slot=Slot, trouble=Trouble)
    def replace_a_silent_holder(self, slot: int, trouble: Upset) -> None:
        for _ in range(3):
            process = self.processes.get(slot)
            if process is None or not process.incarnation:
                self.go_on(slot, trouble)
                self.clock.advance(TIMES.expiry / 2)

    @precondition(lambda self: self._holders())
    @rule(slot=Slot, trouble=Trouble)
    def renew(self, slot: int, trouble: Upset) -> None:
        process = self._holder(slot)
        if process is not None and not process.fenced:
            with self._mortal(slot, trouble):
                process.lease.renew()
                assert self._lease_now()["incarnation"] == process.incarnation, "who renews is the holder"

    @precondition(lambda self: self._holders())
    @rule(slot=Slot)
    def save_more(self, slot: int) -> None:
        process = self._holder(slot)
        for _ in range(3):
            if process is not None:
                self._save(process)

    @precondition(lambda self: self._holders())
    @rule(slot=Slot, trouble=Trouble)
    def upload(self, slot: int, trouble: Upset) -> None:
        """Also by a holder that was replaced: a write that was under way arrives late."""
        process = self._holder(slot)
        if process is not None:
            self._upload(slot, process, trouble)

    @precondition(lambda self: self._holders())
    @rule(slot=Slot, trouble=Trouble)
    def prune(self, slot: int, trouble: Upset) -> None:
        process = self._holder(slot)
        if process is None:
            return
        with self._mortal(slot, trouble):
            for old in Retention(2).expendable(list_pairs(self.flaky, RUN)):
                self.stored.pop(old, None)
                remove_pair(self.flaky, RUN, old)

    @precondition(lambda self: self._holders())
    @rule(slot=Slot, trouble=Trouble)
    def release(self, slot: int, trouble: Upset) -> None:
        process = self._holder(slot)
        if process is not None and not process.fenced:
            with self._mortal(slot, trouble):
                process.lease.release()
                del self.processes[slot]

    @precondition(lambda self: self.processes)
    @rule(slot=Slot)
    def crash(self, slot: int) -> None:
        self.processes.pop(slot, None)

    @rule(slot=Slot)
    def lose_the_disk(self, slot: int) -> None:
        self.processes.pop(slot, None)
        shutil.rmtree(self.folder / str(slot), ignore_errors=True)

    @rule(seconds=st.sampled_from([1, 9, 15, 31]))
    def wait(self, seconds: int) -> None:
        self.flaky.outage = None
        self.clock.advance(seconds)

    @rule(operation=st.sampled_from(OPERATIONS), after=st.booleans(), times=st.integers(1, 3))
    def fail(self, operation: str, after: bool, times: int) -> None:
        self.flaky.fail(operation, Transient("away"), after=after, times=times)

    @rule()
    def begin_an_outage(self) -> None:
        self.flaky.outage = Transient("away")

    @precondition(lambda self: self.stored)
    @rule(data=st.data(), part=st.sampled_from(PARTS))
    def rot(self, data: st.DataObject, part: str) -> None:
        """A stored object is damaged: the pair is nobody's any longer, and must be passed over."""
        name = data.draw(st.sampled_from(sorted(self.stored, key=lambda name: name.order)))
        if len(self.stored) > 1:
            self.memory.objects[f"{RUN}/{name.file(part)}"] = b"rot"
            del self.stored[name]

    # --- what must be so -------------------------------------------------------------------------------------------

    @invariant()
    def what_was_reported_as_stored_is_there_and_whole(self) -> None:
        for name, content in self.stored.items():
            manifest = Manifest.from_json(self.memory.objects[f"{RUN}/{name.file('json')}"], name)
            for part in PARTS:
                data = self.memory.objects[f"{RUN}/{name.file(part)}"]
                assert data == content[part]
                assert record(data) == manifest.files[part]

    @invariant()
    def no_data_key_is_written_twice_with_other_content(self) -> None:
        for key, contents in self.memory.versions.items():
            assert not key.endswith(PARTS) or len(set(contents)) == 1, key

    @invariant()
    def the_lease_goes_from_hand_to_hand_with_a_growing_number(self) -> None:
        documents = [json.loads(content) for content in self.memory.versions.get(LEASE, ())]
        self.lease_writes += [self.lease_written] * (len(documents) - len(self.lease_writes))
        for (before, then), (after, now) in itertools.pairwise(zip(documents, self.lease_writes, strict=True)):
            if before["holder"] == after["holder"]:
                assert after["incarnation"] >= before["incarnation"]
                continue
            event(f"taken {'again by the same machine' if before['spool'] == after['spool'] else before['state']}")
            assert after["incarnation"] > before["incarnation"]
            given_up = before["state"] == "released" or before["spool"] == after["spool"]
            assert given_up or now - then >= TIMES.expiry, "a living holder keeps it"

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _start(self, slot: int) -> None:
        spool = Spool(self.folder / str(slot) / RUN)
        spool.sweep()
        lease = Lease(self.flaky, LEASE, spool.identity(), TIMES, lambda who: None, self.clock)
        self.processes[slot] = Process(lease, spool)

    def _look(self, slot: int, trouble: Upset) -> None:
        """A process that waits takes the lease if it is free, and restores."""
        process = self.processes[slot]
        with self._mortal(slot, trouble):
            floor = candidates(self.flaky, process.spool).incarnation
            taken = process.lease.acquire(floor, Passing(self.clock), lambda who: None)
            assert taken > max(self.incarnations, default=0), "incarnations strictly grow"
            self.incarnations.append(taken)
            process.incarnation = taken
            self._restore(slot, process)

    def _save(self, process: Process) -> None:
        if not process.fenced:
            name = name_of(process.next_save, process.incarnation)
            process.next_save += 1
            save(process.spool, name, next(self.serial))
            process.owed.add(name)

    def _upload(self, slot: int, process: Process, trouble: Upset) -> None:
        name = max(process.owed, key=_order, default=None)
        if name is None:
            return
        with self._mortal(slot, trouble):
            store_pair(self.flaky, process.spool, name)
            process.owed.remove(name)
            event("stored late" if process.incarnation < max(self.incarnations) else "stored")
            self.stored[name] = {part: process.spool.file(name.file(part)).read_bytes() for part in PARTS}
            for old in Retention(2).expendable(process.spool.pairs(), process.owed):
                process.spool.remove(old)

    def _holders(self) -> bool:
        return any(process.incarnation for process in self.processes.values())

    def _restore(self, slot: int, process: Process) -> None:
        found = candidates(self.flaky, process.spool)
        expected = self._newest_valid(process.spool)
        try:
            manifest = bring_newest(self.flaky, process.spool, found, lambda text: None)
        except NoValidPair:
            assert expected is None
            del self.processes[slot]
            return
        assert (manifest and manifest.name) == expected, "the newest by incarnation and save among the valid"
        event("restored" if manifest else "began anew")
        assert manifest is None or is_whole(process.spool, manifest.name)
        process.next_save = found.next_save
        process.owed = set(owed(process.spool, found))

    def _newest_valid(self, spool: Spool) -> CheckpointName | None:
        """Judged from the bytes."""
        keys = (key.removeprefix(f"{RUN}/") for key in self.memory.objects)
        stored = (CheckpointName.of_manifest_file(key) for key in keys)
        valid = {name for name in stored if name is not None and self._is_whole_in_store(name)}
        return max({*valid, *(name for name in spool.pairs() if is_whole(spool, name))}, key=_order, default=None)

    def _is_whole_in_store(self, name: CheckpointName) -> bool:
        manifest = Manifest.from_json(self.memory.objects[f"{RUN}/{name.file('json')}"], name)
        data = {part: self.memory.objects.get(f"{RUN}/{name.file(part)}", b"") for part in PARTS}
        return all(record(data[part]) == manifest.files[part] for part in PARTS)

    def _holder(self, slot: int) -> Process | None:
        process = self.processes.get(slot)
        return process if process is not None and process.incarnation else None

    def _lease_now(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.memory.objects[LEASE])
        return found

    def _before(self, operation: str, key: str) -> None:
        if self.countdown == 0:
            raise Crash
        if key == LEASE and operation in ("create", "replace"):
            self.lease_written = self.clock.now
        if self.countdown is not None:
            self.countdown -= 1

    def _mortal(self, slot: int, trouble: Upset) -> _Mortal:
        return _Mortal(self, slot, trouble)


class _Mortal:
    """Something goes wrong for one process: a failure that it survives, or its death."""

    def __init__(self, machine: Holders, slot: int, trouble: Upset) -> None:
        self._machine = machine
        self._slot = slot
        self._trouble = trouble

    def __enter__(self) -> None:
        if isinstance(self._trouble, tuple):
            operation, after = self._trouble
            self._machine.flaky.fail(operation, Transient("away"), after=after)
        else:
            self._machine.countdown = self._trouble

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        self._machine.countdown = None
        process = self._machine.processes.get(self._slot)
        if error is not None:
            event(type(error).__name__)
        if isinstance(error, Crash):
            self._machine.processes.pop(self._slot)
        elif isinstance(error, Fenced) and process is not None and process.incarnation:
            process.fenced = True
        elif isinstance(error, Conflict):
            return False  # a name is never another pair's
        elif isinstance(error, StoreError) and process is not None and process.incarnation and not process.next_save:
            self._machine.processes.pop(self._slot)  # it could not restore: the daemon starts again
        return error is None or isinstance(error, Crash | Fenced | StoreError)


def save(spool: Spool, name: CheckpointName, serial: int) -> None:
    """Like a training: no two pairs have the same content."""
    for part in PARTS:
        spool.file(name.file(part)).write_bytes(f"{part} {serial}".encode())
    files = {part: record_of(spool.file(name.file(part))) for part in PARTS}
    spool.commit(Manifest(name, RUN, 0, "arrays", "epoch", "2026-11-23T00:00:00+00:00", files), durable=False)


def record(data: bytes) -> FileRecord:
    return FileRecord(len(data), hashlib.sha256(data).hexdigest())


def _order(name: CheckpointName) -> tuple[int, int]:
    """Not the name's own order: that is what is tested."""
    return name.incarnation, name.save


TestHolders = Holders.TestCase
TestHolders.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestHolders.pytestmark = [pytest.mark.timeout(240)]

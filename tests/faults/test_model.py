"""Several holders, a store that fails, crashes at any moment, late writes: against a model of what must come of it.

Time passes when a rule says so, a store operation fails before or after its effect, a process may die between any two
operations, and each operation of an uploader waits at a gate (gated.py): others come in between, and what was under
way when its process died may still arrive. The histories that matter most are rules of their own, so that each occurs
often; below they stand as plain tests as well.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import currently_in_test_context, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fakes.clocks import Clock, Passing
from fakes.events import RecordedEvents
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.artifacts import Limits
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import Conflict, Fenced, NoValidPair, StoreError, Transient
from holdfast.core.manifest import PARTS, FileRecord, Manifest
from holdfast.core.policy import LeaseTimes, Retention
from holdfast.core.runs import RunId
from holdfast.inspect.prune import plan, remove
from holdfast.spool import STORED, Spool, record_of
from holdfast.store import KnownParts, OnSent, Store
from holdfast.store.catalog import read_contents
from holdfast.store.wrapper import Wrapper
from holdfast.supervisor.restore.candidates import bring_newest, candidates, newest_here, owed
from holdfast.supervisor.restore.fenced_store import FencedStore
from holdfast.supervisor.restore.lease import Lease
from holdfast.supervisor.upload.artifacts import Artifacts
from holdfast.supervisor.upload.between_pairs import Prune, Task, UploadArtifacts

from .gated import GatedUploader, is_of_a_pair

RUN = RunId(1, "model")
LEASE = f"{RUN}/lease.json"
TIMES = LeaseTimes(heartbeat=10, expiry=30, wait=0)
OPERATIONS = ("put", "create", "replace", "get", "fetch", "list", "delete")
EPOCH = 2  # batches
KEPT = 6  # pairs in the store


BETWEEN_LOOKS = 60.0  # seconds between two looks at the artifacts
QUIET = 2 * 10**18  # a time by which no file is being written any more


class Crash(BaseException):
    """The process is gone, in the middle of whatever it did."""


@dataclass
class Process:
    """One start of a daemon on a machine. It holds the lease once ``incarnation`` is not 0."""

    lease: Lease
    spool: Spool
    floor: int | None = None
    incarnation: int = 0
    resume: Manifest | None = None
    first_save: int = 0
    next_save: int = 0
    step: int = 0
    fenced: bool = False
    uploads: GatedUploader | None = None

    def lost(self, holder: str) -> None:
        """As the lease reports it."""
        self.fenced = True
        if self.uploads is not None:
            self.uploads.fenced_off()


class Watched(Wrapper):
    """What a daemon's writes come to at last: none may change what is its successor's."""

    def __init__(self, store: Store, model: Holders, process: Process) -> None:
        super().__init__(store)
        self._model = model
        self._process = process

    def put(
        self,
        key: str,
        path: Path,
        crc32: int | None = None,
        progress: OnSent | None = None,
        known: KnownParts | None = None,
    ) -> None:
        self._store.put(key, path, crc32, progress, known)
        if not is_of_a_pair(key):
            self._judge("put", key)

    def delete(self, key: str) -> None:
        name = CheckpointName.of_manifest_file(key.rpartition("/")[2])
        if name is not None:
            self._model.complete_hook(name)
        self._store.delete(key)
        self._judge("delete", key)

    def _judge(self, operation: str, key: str) -> None:
        now = self._model._lease_now()
        if now["state"] != "held" or now["incarnation"] != self._process.incarnation:
            self._model.meddled.append(f"incarnation {self._process.incarnation}: {operation} {key}; {now}")


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
        self.flaky.before = self._before
        self.processes: dict[int, Process] = {}
        self.cut_off: list[Process] = []
        self.saved: dict[CheckpointName, dict[str, bytes]] = {}
        self.stored: set[CheckpointName] = set()
        self.reported: set[CheckpointName] = set()
        self.rotten: set[CheckpointName] = set()
        self.rotten_here: set[tuple[int, CheckpointName]] = set()
        self.removed: set[CheckpointName] = set()
        self.without_data: set[CheckpointName] = set()
        self.incarnations: list[int] = []
        self.countdown: int | None = None
        self.lease_writes: list[float] = []
        self.meddled: list[str] = []
        self.artifacts = 0
        self.lease_written = 0.0

    def teardown(self) -> None:
        for process in (*self.processes.values(), *self.cut_off):
            if process.uploads is not None:
                process.uploads.die(arrives=False)
        shutil.rmtree(self.folder)

    # --- what happens ----------------------------------------------------------------------------------------------

    @initialize()
    def one_of_them_holds_the_lease_and_has_stored_a_pair(self) -> None:
        self.becomes_holder(0)
        self.train(0, 2)
        self.catch_up(0)

    @rule(slot=Slot, trouble=Trouble)
    def start(self, slot: int, trouble: Upset = None) -> None:
        """A machine starts, and looks whether it can have the lease: if so, it restores."""
        process = self.processes.get(slot)
        if process is None:
            spool = Spool(self.folder / str(slot) / str(RUN))
            spool.sweep()
            lease = Lease(self.flaky, LEASE, spool.identity(), TIMES, lambda who: process.lost(who), self.clock)
            process = self.processes[slot] = Process(lease, spool)
        if not process.incarnation:
            with self._mortal(slot, trouble):
                if process.floor is None:
                    process.floor = candidates(self.flaky, process.spool).incarnation
                taken = process.lease.acquire(process.floor, Passing(self.clock), lambda who: None)
                assert taken > max(self.incarnations, default=0), "incarnations strictly grow"
                self.incarnations.append(taken)
                process.incarnation = taken
                self._restore(slot, process)

    @rule(slot=Slot)
    def becomes_holder(self, slot: int) -> None:
        """A machine waits for as long as it takes, while the others are silent and the store is there."""
        self.flaky.outage = None
        for _ in range(8):
            if self._holder(slot) is None:
                self.start(slot)
                self.clock.advance(TIMES.expiry / 2)

    @precondition(lambda self: self._holders())
    @rule(slot=Slot, trouble=Trouble)
    def renew(self, slot: int, trouble: Upset = None) -> None:
        process = self._holder(slot)
        if process is not None and not process.fenced:
            with self._mortal(slot, trouble):
                process.lease.renew()
                assert self._lease_now()["incarnation"] == process.incarnation, "who renews is the holder"

    @precondition(lambda self: self._holders())
    @rule(slot=Slot, pairs=st.integers(1, 4), finite=st.integers(0, 4).map(bool))
    def train(self, slot: int, pairs: int, finite: bool = True) -> None:
        """Every second pair is an epoch's; the others only serve to go on from."""
        process = self._holder(slot)
        if process is not None and not process.fenced and process.uploads is not None:
            names = [self._save(process, finite) for _ in range(pairs)]
            process.uploads.add(names)
            self._hear(slot, process)

    @precondition(lambda self: self._holders())
    @rule(slot=Slot, operations=st.integers(1, 6))
    def upload(self, slot: int, operations: int) -> None:
        """Also by a holder that was replaced and does not know it yet."""
        process = self._holder(slot)
        if process is not None and process.uploads is not None and not process.fenced:
            for _ in range(operations):
                process.uploads.pass_one()
            self._hear(slot, process)

    @precondition(lambda self: self._holders())
    @rule(slot=Slot)
    def catch_up(self, slot: int) -> None:
        """With nothing to do, it owes nothing."""
        process = self._holder(slot)
        if process is not None and process.uploads is not None and not process.fenced:
            process.uploads.catch_up()
            self._hear(slot, process)
            if process.uploads.idle:
                assert process.uploads.unpaid == set(), "everything owed is caught up"

    @precondition(lambda self: self._holders())
    @rule(slot=Slot)
    def drain(self, slot: int) -> None:
        """Everything is stored, then the lease is given back."""
        process = self._holder(slot)
        self.catch_up(slot)
        if process is not None and process.uploads is not None and process.uploads.idle and not process.fenced:
            if process.uploads.conclude():
                note("drained")
                now = self._lease_now()
                assert now["state"] == "released" or now["incarnation"] != process.incarnation, "nobody need wait"
                self._gone(slot)
            else:
                self.crash(slot)  # killed while it tried to give the lease back

    @precondition(lambda self: self._holders())
    @rule(slot=Slot)
    def the_training_dies_and_starts_again(self, slot: int) -> None:
        """The daemon lives on, so the incarnation is the same."""
        process = self._holder(slot)
        if process is not None and not process.fenced:
            with self._mortal(slot, None):
                try:
                    self._go_on_from_the_newest(slot, process)
                except NoValidPair:
                    assert self._newest_valid(slot, process.spool) is None
                    self.crash(slot)

    @precondition(lambda self: self._holders())
    @rule(slot=Slot)
    def the_command_starts_another_training(self, slot: int) -> None:
        """It goes on from what is here: the daemon restored before the command began."""
        process = self._holder(slot)
        if process is None or process.fenced:
            return
        if process.resume is None or self._is_whole_here(process.spool, process.resume.name):
            self._start_training(slot, process)

    @precondition(lambda self: self._holders())
    @rule(data=st.data(), dies_before=st.none() | st.integers(2, 16))
    def prune(self, data: st.DataObject, dies_before: int | None) -> None:
        self.prune_to(data.draw(st.integers(1, 2)), dies_before)

    def prune_to(self, last: int, dies_before: int | None = None) -> None:
        """Somewhere, by hand, while trainings go on. It may die midway."""
        folder = self.folder / "prune"
        folder.mkdir(exist_ok=True)
        before = self._newest_valid_stored()
        with self._mortal(-1, dies_before):
            contents = read_contents(self.flaky, RUN)
            pruning = plan(self.flaky, contents, Retention(last), folder, lambda text: None, lambda name, size: None)
            self.stored -= {listed.name for listed in pruning.pairs}
            orphans = {listed.name for listed in pruning.orphans}
            assert not orphans & self._may_be_under_way(), "data whose manifest may be under way stays"
            self.without_data |= orphans  # should their manifests arrive after all
            self.removed |= {listed.name for listed in pruning.pairs}
            note("pruned" if pruning.pairs else "nothing to prune")
            remove(self.flaky, contents, pruning, lambda listed: None)
        assert self._newest_valid_stored() == before, "the newest valid pair stays"

    @precondition(lambda self: self.processes)
    @rule(slot=Slot, arrives=st.booleans())
    def crash(self, slot: int, arrives: bool = False) -> None:
        """What it had under way may still arrive, at any time from now on."""
        process = self.processes.pop(slot, None)
        if process is not None and process.uploads is not None:
            if arrives:
                self.cut_off.append(process)
            else:
                process.uploads.die(arrives=False)

    @precondition(lambda self: self.cut_off)
    @rule()
    def a_dead_ones_write_arrives(self) -> None:
        process = self.cut_off.pop(0)
        assert process.uploads is not None
        operation, key = process.uploads.under_way or ("nothing", "")
        note(f"late {operation}")
        name = CheckpointName.of_manifest_file(key.rpartition("/")[2])
        if name in self.removed:
            self.without_data.add(name)  # its machine had come back and stored it, and it was pruned
        process.uploads.die(arrives=True)

    @precondition(lambda self: any(process.fenced for process in self.processes.values()))
    @rule()
    def who_is_fenced_off_comes_to_its_end(self) -> None:
        """One write may be under way, and arrives; nothing more is begun."""
        slot, process = next((slot, process) for slot, process in self.processes.items() if process.fenced)
        del self.processes[slot]
        assert process.uploads is not None
        writes = process.uploads.writes
        process.uploads.end()
        note(f"{process.uploads.writes - writes} writes once fenced off")
        assert process.uploads.writes <= writes + 1, "who is fenced off commits nothing more"
        self._hear(slot, process)

    @rule(slot=Slot)
    def lose_the_disk(self, slot: int) -> None:
        self.crash(slot)
        shutil.rmtree(self.folder / str(slot), ignore_errors=True)
        self.rotten_here = {found for found in self.rotten_here if found[0] != slot}

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

    @precondition(lambda self: len(self.stored) > 1)
    @rule(data=st.data(), part=st.sampled_from(PARTS), same_size=st.booleans(), slot=st.none() | Slot)
    def rot_in_the_store(self, data: st.DataObject, part: str, same_size: bool, slot: int | None) -> None:
        """A stored object is damaged: the pair is nobody's any longer, and must be passed over."""
        self.rot(data.draw(st.sampled_from(sorted(self.stored, key=_order))), part, same_size)
        if slot is not None:
            self.lose_the_disk(slot)
            self.becomes_holder(slot)

    def rot(self, name: CheckpointName, part: str, same_size: bool) -> None:
        key = f"{RUN}/{name.file(part)}"
        self.memory.objects[key] = b"\0" * len(self.memory.objects[key]) if same_size else b"rot"
        self.stored.remove(name)
        self.rotten.add(name)

    @rule(slot=Slot, stored=st.booleans(), elsewhere=st.booleans())
    def a_training_diverges(self, slot: int, stored: bool, elsewhere: bool) -> None:
        """What it saved last is no place to go on from, wherever it is."""
        if self._becomes_holder(slot):
            self.train(slot, 1, finite=False)
            if stored:
                self.catch_up(slot)
            if elsewhere:
                self.lose_the_disk((slot + 1) % 3)
                self.becomes_holder((slot + 1) % 3)
            else:
                self.the_training_dies_and_starts_again(slot)

    @precondition(lambda self: self._holders())
    @rule(slot=Slot, part=st.sampled_from(PARTS), same_size=st.booleans(), starts=st.booleans())
    def rot_here(self, slot: int, part: str, same_size: bool, starts: bool) -> None:
        process = self._holder(slot)
        if process is not None and (pairs := process.spool.pairs()):
            path = process.spool.file(pairs[0].file(part))
            path.write_bytes(b"\0" * path.stat().st_size if same_size else b"rot")
            self.rotten_here.add((slot, pairs[0]))
            if starts:
                self.the_training_dies_and_starts_again(slot)

    @precondition(lambda self: self._holders())
    @rule(slot=Slot, same=st.booleans())
    def the_script_writes_an_artifact(self, slot: int, same: bool = True) -> None:
        """The same one as on other machines, or one of its own; the daemon sees it at its next look."""
        process = self._holder(slot)
        if process is not None:
            self.artifacts += 1
            file = process.spool.file("artifacts") / ("best" if same else f"log-{slot}")
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{self.artifacts} by incarnation {process.incarnation}")
            self.clock.advance(BETWEEN_LOOKS + 1)

    # --- histories that matter, each in one rule so that it occurs often ---------------------------------------------

    @rule(slots=st.permutations(range(3)), ahead=st.integers(1, 4), dies=st.booleans(), starts=st.booleans())
    def a_manifest_arrives_after_the_takeover(
        self, slots: list[int], ahead: int, dies: bool = False, starts: bool = True
    ) -> None:
        """The old holder had saved more pairs than the new one; its save numbers are higher."""
        old, new, third = slots
        if not self._has_its_manifest_under_way(old, ahead):
            return
        self.clock.advance(TIMES.expiry + 1)
        if dies:
            self.crash(old, arrives=True)
        if not self._becomes_holder(new):
            return
        self.train(new, 1)
        self.catch_up(new)
        if dies:
            while self.cut_off:
                self.a_dead_ones_write_arrives()
        else:
            self.upload(old, 1)
        note("a manifest after the takeover")
        if starts:
            self.lose_the_disk(third)
            self.becomes_holder(third)

    @rule(slot=Slot, pairs=st.integers(1, 4), arrives=st.booleans())
    def a_crash_between_data_and_manifest(self, slot: int, pairs: int, arrives: bool) -> None:
        if self._has_its_manifest_under_way(slot, pairs):
            note("a crash between data and manifest")
            self.crash(slot, arrives)
            if self._becomes_holder(slot):
                self.catch_up(slot)

    @rule(slots=st.permutations(range(3)), pairs=st.integers(1, 4), operations=st.integers(0, 4))
    def a_holder_is_replaced_while_it_uploads(self, slots: list[int], pairs: int, operations: int) -> None:
        old, new, _ = slots
        if not self._becomes_holder(old):
            return
        self.train(old, pairs)
        self.upload(old, operations)
        self.clock.advance(TIMES.expiry + 1)
        if self._becomes_holder(new):
            self.renew(old)
            process = self._holder(old)
            if process is not None and process.fenced:
                self.who_is_fenced_off_comes_to_its_end()

    @rule(slots=st.permutations(range(3)), pairs=st.integers(1, 8), operations=st.integers(0, 12))
    def a_holder_that_was_replaced_comes_back(self, slots: list[int], pairs: int, operations: int) -> None:
        """It has artifacts to send and pairs to prune, is cut off in the middle, and goes on where it was."""
        old, new, _ = slots
        if not self._becomes_holder(old):
            return
        self.the_script_writes_an_artifact(old)
        self.train(old, pairs)
        self.upload(old, operations)
        self.clock.advance(TIMES.expiry + 1)
        if self._becomes_holder(new):
            self.train(new, 1)
            self.the_script_writes_an_artifact(new)
            self.catch_up(new)
            note("a replaced holder came back")
            self.upload(old, 40)

    @rule(slot=Slot, last=st.integers(1, 2), dies_before=st.integers(2, 14))
    def a_pruning_dies_midway(self, slot: int, last: int, dies_before: int) -> None:
        if self._becomes_holder(slot):
            self.train(slot, 4)
            self.catch_up(slot)
            self.prune_to(last, dies_before)

    @rule(slots=st.permutations(range(3)), epochs=st.integers(1, 3))
    def a_machine_returns_with_epochs_that_were_never_stored(self, slots: list[int], epochs: int) -> None:
        """It went on during an outage and died; it starts again, alone or after another machine went on meanwhile."""
        first, second, _ = slots
        if not self._becomes_holder(first):
            return
        self.train(first, EPOCH * epochs)
        self.crash(first)
        if epochs > 1 and self._becomes_holder(second):
            self.train(second, EPOCH * epochs + 1)
            self.upload(second, 8)  # the first of its pairs, and the newest
            self.crash(second)
        if self._becomes_holder(first):
            note("a machine returned")
            self.catch_up(first)

    @rule(slot=Slot, last=st.integers(1, 2))
    def a_pruning_comes_while_old_epochs_are_brought(self, slot: int, last: int) -> None:
        """Their data is there, older than the newest incarnation's, and their manifests are not yet."""
        if self._becomes_holder(slot):
            self.train(slot, 3 * EPOCH)
            self.crash(slot)
        process = self._holder(slot) if self._becomes_holder(slot) else None
        if process is None or process.uploads is None or process.fenced:
            return
        self.train(slot, 1)
        for _ in range(16):
            if process.uploads.under_way and process.uploads.under_way[0] == "create":
                self.prune_to(last)
            self.upload(slot, 1)

    @rule(slots=st.permutations(range(3)), outage=st.booleans())
    def a_machine_waits_for_a_living_holder(self, slots: list[int], outage: bool) -> None:
        """It renews; or it cannot, and who waits cannot look: that time counts for nothing."""
        holder, waiter, _ = slots
        if not self._becomes_holder(holder) or self._lease_now()["incarnation"] != self.processes[holder].incarnation:
            return
        self.crash(waiter)
        self.renew(holder)
        for _ in range(4):
            self.start(waiter)
            self.flaky.outage = Transient("away") if outage else None
            self.clock.advance(TIMES.heartbeat)
            self.start(waiter)
            self.renew(holder)
            self.flaky.outage = None
        note("a machine waited")

    # --- what must be so -------------------------------------------------------------------------------------------

    @invariant()
    def what_was_reported_as_stored_is_there_and_whole(self) -> None:
        for name in self.stored:
            assert self._manifest_file(name) in self.memory.objects, f"{name} was reported as stored"
            assert self._is_whole_in_store(name), name

    @invariant()
    def a_pair_with_a_manifest_is_whole(self) -> None:
        for name in self._manifests():
            if name not in self.rotten | self.without_data:
                assert self._is_whole_in_store(name), name

    @invariant()
    def no_data_key_is_written_twice_with_other_content(self) -> None:
        for key, contents in self.memory.versions.items():
            assert key == LEASE or "/artifacts" in key or len(set(contents)) == 1, key

    @invariant()
    def a_replaced_holder_changes_nothing_of_its_successor(self) -> None:
        assert self.meddled == []

    @invariant()
    def a_pair_that_is_owed_stays_on_its_machine(self) -> None:
        for slot, process in self.processes.items():
            for name in process.uploads.unpaid if process.uploads is not None else ():
                assert (slot, name) in self.rotten_here or self._is_whole_here(process.spool, name), name

    @invariant()
    def the_lease_goes_from_hand_to_hand_with_a_growing_number(self) -> None:
        self._note_lease_writes()
        documents = [json.loads(content) for content in self.memory.versions.get(LEASE, ())]
        for (before, then), (after, now) in itertools.pairwise(zip(documents, self.lease_writes, strict=True)):
            if before["holder"] == after["holder"]:
                assert after["incarnation"] >= before["incarnation"]
                continue
            assert after["incarnation"] > before["incarnation"]
            given_up = before["state"] == "released" or before["spool"] == after["spool"]
            assert given_up or now - then >= TIMES.expiry, "a living holder keeps it"

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _restore(self, slot: int, process: Process) -> None:
        try:
            self._go_on_from_the_newest(slot, process)
        except NoValidPair:
            assert self._newest_valid(slot, process.spool) is None
            self._gone(slot)
            return
        found = candidates(self.flaky, process.spool)
        again = owed(process.spool, found)
        assert set(again) == set(self._expected_owed(slot, process.spool)), "what the store never got, and should have"
        assert again == sorted(again, key=_order, reverse=True)
        newest = max((name.order for name in found.stored), default=(0, 0))
        finish = process.lease.release
        store = FencedStore(Watched(self.flaky, self, process), process.lease)
        process.uploads = GatedUploader(
            store, process.spool, newest, finish, Retention(2), lambda gated: self._tasks(process, gated, found.stored)
        )
        process.uploads.add(again)
        note("owed again" if again else "nothing owed")
        self._hear(slot, process)

    def _tasks(self, process: Process, store: Store, stored: Iterable[CheckpointName]) -> list[Task]:
        """Retention and artifacts, as the daemon runs them."""
        artifacts = Artifacts(
            store,
            process.spool,
            Limits(interval=BETWEEN_LOOKS),
            RecordedEvents(),
            self.clock,
            wall_ns=lambda: QUIET,
        )
        artifacts.restore(Passing(Clock()))
        prune = Prune(store, str(RUN), Retention(KEPT), stored, lambda text: None)
        return [prune, UploadArtifacts(artifacts)]

    def complete_hook(self, name: CheckpointName) -> None:
        """A holder's retention begins to remove that pair."""
        self.stored.discard(name)
        self.removed.add(name)
        usable = [one for one in self._manifests() if one.loss != "nan"]
        if name == max(usable, key=_order, default=None):
            self.meddled.append(f"{name} is the newest")

    def _go_on_from_the_newest(self, slot: int, process: Process) -> None:
        found = candidates(self.flaky, process.spool)
        expected = self._newest_valid(slot, process.spool)
        brought = bring_newest(self.flaky, process.spool, found, lambda text: None)
        assert (brought and brought.name) == expected, "the newest by incarnation and save among the valid"
        process.resume, process.first_save = brought, found.next_save
        self._start_training(slot, process)
        note("restored" if brought else "began anew")

    def _start_training(self, slot: int, process: Process) -> None:
        """A damaged pair may have been mended by parts that were fetched, though not all of them could be."""
        here = [name for name in process.spool.pairs() if self._is_whole_here(process.spool, name)]
        self.rotten_here -= {(slot, name) for name in here}
        manifest, process.next_save = newest_here(process.spool, process.resume, process.first_save)
        assert (manifest and manifest.name) == max((n for n in here if n.loss != "nan"), key=_order, default=None)
        process.step = manifest.name.step if manifest else 0

    def _save(self, process: Process, finite: bool) -> CheckpointName:
        """Like a training: no two pairs have the same content."""
        process.step += 1
        loss = "0.5000" if finite else "nan"
        name = CheckpointName(process.step // EPOCH, process.step, loss, process.incarnation, process.next_save)
        process.next_save += 1
        same = (one.save for one in self.saved if one.incarnation == name.incarnation)
        assert name.save > max(same, default=0), "save numbers grow, also when the training starts again"
        self.saved[name] = {part: f"{part} {len(self.saved)}".encode() for part in PARTS}
        for part, data in self.saved[name].items():
            process.spool.file(name.file(part)).write_bytes(data)
        files = {part: record_of(process.spool.file(name.file(part))) for part in PARTS}
        batch = process.step % EPOCH
        reason = "interval" if batch else "epoch"
        manifest = Manifest(name, str(RUN), batch, "arrays", reason, "2026-11-23T00:00:00+00:00", files)
        process.spool.commit(manifest, durable=False)
        return name

    def _has_its_manifest_under_way(self, slot: int, pairs: int) -> bool:
        self.becomes_holder(slot)
        process = self._holder(slot)
        if process is None or process.uploads is None or process.fenced:
            return False
        self.catch_up(slot)
        self.train(slot, pairs)
        if not process.uploads.unpaid:
            return False
        newest = ("create", self._manifest_file(max(process.uploads.unpaid, key=_order)))
        for _ in range(8):  # the first of the pairs was under way before there were others
            if process.uploads.under_way != newest:
                self.upload(slot, 1)
        return process.uploads.under_way == newest

    def _hear(self, slot: int, process: Process) -> None:
        """What the uploader has reported meanwhile."""
        uploads = process.uploads
        assert uploads is not None
        assert uploads.complaints == []
        for name in _emptied(uploads.stored_pairs):
            note("stored late" if process.incarnation < max(self.incarnations) else "stored")
            self.reported.add(name)
            if name not in self.rotten | self.without_data | self.removed:
                self.stored.add(name)
        for name in _emptied(uploads.skipped_pairs):
            assert name.step % EPOCH, f"{name}: epochs are all owed"
            assert _order(name) < max(map(_order, uploads.given)), f"{name}: a newer one serves instead"
        for name in _emptied(uploads.lost_pairs):
            assert (slot, name) in self.rotten_here, f"{name} was given up, and is whole"
        for name in process.spool.stored():
            assert self._manifest_file(name) in self.memory.versions, f"{name} is marked as stored"

    def _gone(self, slot: int) -> None:
        process = self.processes.pop(slot)
        if process.uploads is not None:
            process.uploads.die(arrives=False)

    def _becomes_holder(self, slot: int) -> bool:
        self.becomes_holder(slot)
        return self._holder(slot) is not None

    def _may_be_under_way(self) -> set[CheckpointName]:
        """The newest incarnation's pairs, and what the holder brings that its machine had from before."""
        newest = {name for name in self.saved if name.incarnation == max(self.incarnations)}
        living = (process for process in self.processes.values() if process.uploads is not None)
        now = self._lease_now()
        holders = [p for p in living if p.incarnation == now["incarnation"] and now["state"] == "held"]
        return newest.union(*(process.uploads.unpaid for process in holders if process.uploads is not None))

    def _holders(self) -> bool:
        return any(process.incarnation for process in self.processes.values())

    def _holder(self, slot: int) -> Process | None:
        process = self.processes.get(slot)
        return process if process is not None and process.incarnation else None

    # --- judged from the bytes, without the code that is tested ------------------------------------------------------

    def _newest_valid(self, slot: int, spool: Spool) -> CheckpointName | None:
        """A damaged pair can be mended by what the other side has of it."""
        here = (name for name in spool.pairs() if self._is_whole_here(spool, name))
        mended = (name for name in self._manifests() if self._can_be_brought(spool, name))
        return max((n for n in (*mended, *here) if n.loss != "nan"), key=_order, default=None)

    def _can_be_brought(self, spool: Spool, name: CheckpointName) -> bool:
        """If the listing says nothing against it, and each file is whole here or there."""
        there = {part: self.memory.objects.get(f"{RUN}/{name.file(part)}") for part in PARTS}
        if any(len(there[part] or b"") != len(data) for part, data in self.saved[name].items()):
            return False
        return all(
            data in (there[part], spool.file(name.file(part)).exists() and spool.file(name.file(part)).read_bytes())
            for part, data in self.saved[name].items()
        )

    def _newest_valid_stored(self) -> CheckpointName | None:
        return max((name for name in self._valid_stored() if name.loss != "nan"), key=_order, default=None)

    def _valid_stored(self) -> list[CheckpointName]:
        return [name for name in self._manifests() if self._is_whole_in_store(name)]

    def _manifests(self) -> list[CheckpointName]:
        keys = (key.removeprefix(f"{RUN}/") for key in self.memory.objects)
        return [name for key in keys if (name := CheckpointName.of_manifest_file(key)) is not None]

    def _manifest_file(self, name: CheckpointName) -> str:
        return f"{RUN}/{name.file('json')}"

    def _is_whole_in_store(self, name: CheckpointName) -> bool:
        manifest = Manifest.from_json(self.memory.objects[self._manifest_file(name)], name)
        data = {part: self.memory.objects.get(f"{RUN}/{name.file(part)}") for part in PARTS}
        return data == self.saved[name] and all(record(data[part] or b"") == manifest.files[part] for part in PARTS)

    def _is_whole_here(self, spool: Spool, name: CheckpointName) -> bool:
        paths = {part: spool.file(name.file(part)) for part in PARTS}
        return all(path.exists() and path.read_bytes() == self.saved[name][part] for part, path in paths.items())

    def _expected_owed(self, slot: int, spool: Spool) -> Iterator[CheckpointName]:
        """Whatever is newer than all of the store's that a training can resume from, and the epochs on the way there
        that the store never got.
        """
        stored = self._manifests()
        newest = max((name for name in stored if name.loss != "nan"), key=_order, default=None)
        for name in spool.pairs():
            if not self._is_whole_here(spool, name) or name in stored:
                continue
            marked = spool.file(name.file(STORED)).exists()
            if newest is None or _order(name) > _order(newest):
                wanted = name.loss != "nan" or not marked
            else:
                epoch = name.step % EPOCH == 0 and all(one.step != name.step for one in stored)
                wanted = epoch and not marked and name.step < newest.step
            if wanted:
                yield name

    def _lease_now(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.memory.objects[LEASE])
        return found

    def _before(self, operation: str, key: str) -> None:
        if self.countdown == 0:
            raise Crash
        self._note_lease_writes()
        if key == LEASE and operation in ("create", "replace"):
            self.lease_written = self.clock.now
        if self.countdown is not None:
            self.countdown -= 1

    def _note_lease_writes(self) -> None:
        """When each was tried that was done."""
        self.lease_writes += [self.lease_written] * (len(self.memory.versions.get(LEASE, ())) - len(self.lease_writes))

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
            note(type(error).__name__)
        if isinstance(error, Crash):
            self._machine.crash(self._slot)
        elif isinstance(error, Fenced) and process is not None and process.incarnation:
            process.fenced = True
            assert process.uploads is not None
            process.uploads.drop()
        elif isinstance(error, Conflict):
            return False  # a name is never another pair's
        elif isinstance(error, StoreError) and process is not None and process.incarnation and process.uploads is None:
            self._machine.crash(self._slot)  # it could not restore: the daemon starts again
        return error is None or isinstance(error, Crash | Fenced | StoreError)


def record(data: bytes) -> FileRecord:
    return FileRecord(len(data), hashlib.sha256(data).hexdigest())


def _order(name: CheckpointName) -> tuple[int, int]:
    """Not the name's own order: that is what is tested."""
    return name.incarnation, name.save


def _emptied(names: list[CheckpointName]) -> list[CheckpointName]:
    found = names[:]
    names.clear()
    return found


def note(text: str) -> None:
    """For the statistics."""
    if currently_in_test_context():
        event(text)


TestHolders = Holders.TestCase
TestHolders.settings = settings(max_examples=10, stateful_step_count=30, deadline=None)
TestHolders.pytestmark = [pytest.mark.timeout(600)]


class Longer(Holders):
    """More of the same."""


TestLonger = Longer.TestCase
TestLonger.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestLonger.pytestmark = [pytest.mark.timeout(600), pytest.mark.whole]


# --- the histories that matter, each for itself ----------------------------------------------------------------------


@pytest.fixture
def holders() -> Iterator[Holders]:
    """One of three machines holds the lease, and has stored two pairs. What must be so is so at the end."""
    holders = Holders()
    holders.one_of_them_holds_the_lease_and_has_stored_a_pair()
    yield holders
    holders.what_was_reported_as_stored_is_there_and_whole()
    holders.a_pair_with_a_manifest_is_whole()
    holders.a_replaced_holder_changes_nothing_of_its_successor()
    holders.no_data_key_is_written_twice_with_other_content()
    holders.a_pair_that_is_owed_stays_on_its_machine()
    holders.the_lease_goes_from_hand_to_hand_with_a_growing_number()
    holders.teardown()


@pytest.mark.parametrize("dies", [True, False])
def test_a_manifest_that_arrives_after_the_takeover_is_not_the_newest(holders: Holders, dies: bool) -> None:
    holders.a_manifest_arrives_after_the_takeover([0, 1, 2], ahead=4, dies=dies, starts=True)
    late, new = sorted(holders.stored if not dies else holders._valid_stored(), key=_order)[-2:]
    assert (late.incarnation, new.incarnation) == (1, 2)
    assert late.save > new.save
    assert holders.processes[2].step == new.step, "a third machine goes on from the new holder's pair"


@pytest.mark.parametrize("arrives", [True, False])
def test_a_crash_between_data_and_manifest_costs_nothing(holders: Holders, arrives: bool) -> None:
    holders.a_crash_between_data_and_manifest(0, pairs=4, arrives=arrives)
    while holders.cut_off:
        holders.a_dead_ones_write_arrives()
    assert {name.step for name in holders.stored} >= {4, 6}, "the epochs, by the machine that came back"


@pytest.mark.parametrize("operations", range(5))
def test_who_is_replaced_while_it_uploads_writes_at_most_what_is_under_way(holders: Holders, operations: int) -> None:
    holders.a_holder_is_replaced_while_it_uploads([0, 1, 2], pairs=3, operations=operations)
    assert list(holders.processes) == [1]


@pytest.mark.parametrize("operations", range(0, 36, 6))
def test_a_holder_that_was_replaced_and_comes_back_changes_nothing_of_its_successor(
    holders: Holders, operations: int
) -> None:
    holders.a_holder_that_was_replaced_comes_back([0, 1, 2], pairs=2 * KEPT, operations=operations)
    assert holders.memory.objects[f"{RUN}/artifacts/best"].endswith(b"by incarnation 2")
    assert holders.processes[0].fenced


def test_retention_and_artifacts_are_those_of_the_daemon(holders: Holders) -> None:
    holders.the_script_writes_an_artifact(0)
    holders.train(0, 4 * KEPT)
    holders.catch_up(0)
    assert len(holders._manifests()) == KEPT
    assert holders.memory.objects[f"{RUN}/artifacts/best"] == b"1 by incarnation 1"


@pytest.mark.parametrize("dies_before", range(2, 24, 3))
def test_a_pruning_that_dies_leaves_only_whole_pairs(holders: Holders, dies_before: int) -> None:
    holders.a_pruning_dies_midway(0, last=1, dies_before=dies_before)
    holders.prune_to(1)
    assert len(holders._manifests()) == 1


@pytest.mark.parametrize("epochs", [1, 3])
def test_epochs_that_were_never_stored_are_caught_up_by_the_machine_that_has_them(
    holders: Holders, epochs: int
) -> None:
    holders.a_machine_returns_with_epochs_that_were_never_stored([0, 1, 2], epochs)
    first = {name.step for name in holders.stored if name.incarnation == 1}
    assert first >= {2 + EPOCH * (number + 1) for number in range(epochs)}


@pytest.mark.parametrize("same_size", [True, False])
@pytest.mark.parametrize("part", PARTS)
def test_what_rots_on_a_machines_disk_is_brought_again(holders: Holders, part: str, same_size: bool) -> None:
    holders.rot_here(0, part, same_size, starts=True)
    assert holders.rotten_here == set()
    assert holders.processes[0].step == 2


@pytest.mark.parametrize("same_size", [True, False])
@pytest.mark.parametrize("part", PARTS)
def test_what_rots_in_the_store_is_passed_over(holders: Holders, part: str, same_size: bool) -> None:
    holders.rot(max(holders.stored, key=_order), part, same_size)
    holders.becomes_holder(1)
    assert holders.processes[1].step == 1


@pytest.mark.parametrize("elsewhere", [True, False])
def test_nothing_goes_on_from_a_loss_that_is_not_finite(holders: Holders, elsewhere: bool) -> None:
    holders.a_training_diverges(0, stored=True, elsewhere=elsewhere)
    assert holders.processes[int(elsewhere)].step == 2


def test_after_a_failure_a_pair_whose_loss_is_not_finite_waits_for_those_that_a_training_can_resume_from(
    holders: Holders,
) -> None:
    holders.fail("put", after=False, times=1)
    holders.train(0, 4)
    holders.catch_up(0)
    holders.train(0, 1, finite=False)
    holders.catch_up(0)
    assert {name.step for name in holders.stored} >= {4, 6}
    assert max(holders.reported, key=_order).step == 7


@pytest.mark.parametrize("outage", [True, False])
def test_a_living_holder_is_not_replaced(holders: Holders, outage: bool) -> None:
    holders.a_machine_waits_for_a_living_holder([0, 1, 2], outage)
    holders.renew(0)
    assert not holders.processes[0].fenced
    assert holders.processes[1].incarnation == 0


def test_a_pruning_leaves_alone_what_the_holder_brings_from_before(holders: Holders) -> None:
    holders.a_pruning_comes_while_old_epochs_are_brought(0, last=2)
    holders.catch_up(0)

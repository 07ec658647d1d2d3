from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.clocks import Waits
from fakes.events import RecordedEvents
from fakes.pairs import name_of, save_pair
from fakes.stored import Run
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import Fenced, HoldfastError, Permanent, SettingsError, Transient
from holdfast.core.manifest import LAST_EPOCH
from holdfast.core.runs import ForkSource
from holdfast.store import Store
from holdfast.store.catalog import list_pairs
from holdfast.store.directory import DirectoryStore
from holdfast.supervisor.restore.opening import Prepared
from holdfast.supervisor.restore.prepare import Preparer
from holdfast.supervisor.settings import RunSettings
from holdfast.supervisor.upload.store_pair import store_pair

RUN = "00001-digits"
Start = Callable[..., Preparer]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run(store: MemoryStore, scratch: Path) -> Run:
    """Its pairs are at the steps 10, 20 and 30."""
    run = Run(store, scratch)
    run.pairs(1, 2, 3)
    return run


@pytest.fixture
def lost() -> list[str]:
    """By whom the lease was taken over, as it was told."""
    return []


@pytest.fixture
def start(store: MemoryStore, tmp_path: Path, lost: list[str]) -> Iterator[Start]:
    """Makes the preparer of a machine."""
    made: list[Preparer] = []

    def make(
        machine: str,
        source: str = "",
        name: str = "digits",
        through: Store | None = None,
        extend: bool = False,
        heard: Callable[[str], None] = lambda kind: None,
        cancelled: threading.Event | None = None,
        said: RecordedEvents | None = None,
    ) -> Preparer:
        given = ForkSource.parse(source) if source else None
        settings = RunSettings(name=name, work_dir=tmp_path / machine, command=("true",), source=given, extend=extend)
        say, used = said or RecordedEvents(heard), through or store
        made.append(Preparer(settings, used, say, lambda path: None, store_pair, lost.append, lambda: None, cancelled))
        return made[-1]

    yield make
    for preparer in made:
        preparer.close()


def prepared(preparer: Preparer) -> Prepared:
    found = preparer.prepare()
    assert found is not None
    return found


def train_one(store: Store, at: Prepared) -> None:
    """Stores the pair of the next step, as a training and its uploader would."""
    name = name_of(at.found.next_save, incarnation=at.incarnation)
    save_pair(at.spool, name)
    store_pair(store, at.spool, name)


@pytest.mark.parametrize("spelled", ["digits@20", f"{RUN}@20"])
def test_of_two_machines_with_one_roll_back_the_second_goes_on_from_what_the_first_did(
    run: Run, store: MemoryStore, start: Start, spelled: str
) -> None:
    """The first does all of its work after the second has looked, and before it has the lease."""
    flaky, first = FlakyStore(store), start("one", "digits@20")

    def the_first_is_faster(operation: str, key: str) -> None:
        if key.endswith("lease.json"):
            flaky.before = lambda operation, key: None
            train_one(store, prepared(first))
            first.finish(complete=False)

    flaky.before = the_first_is_faster
    preparer = start("two", spelled, through=flaky)
    second = prepared(preparer)

    newest = list_pairs(store, RUN)[0]
    resume = preparer.bring(second, ())
    assert resume is not None
    assert resume.name == newest
    assert (newest.incarnation, second.incarnation) == (2, 3)
    assert sum(key.startswith(f"{RUN}/from-") for key in store.objects) == 1


def test_a_fork_is_the_newest_pair_of_its_run_and_leaves_nothing_beside_it(
    run: Run, store: MemoryStore, start: Start, tmp_path: Path
) -> None:
    first = start("one", "digits@20", name="other")
    resume = first.bring(prepared(first), ())
    assert resume is not None
    assert (resume.run, resume.name.step) == ("00002-other", 20)
    assert list_pairs(store, "00002-other") == [resume.name]
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["00002-other"]


@pytest.mark.parametrize("part", ["h5", "pkl", "json"])
def test_a_damaged_source_is_refused_before_a_run_is_allotted_for_it(
    run: Run, store: MemoryStore, start: Start, tmp_path: Path, part: str
) -> None:
    run.flip(name_of(2), part)
    before = dict(store.objects)
    refused = start("one", "digits@20", name="other")
    with pytest.raises(SettingsError, match="that checkpoint cannot be used"):
        refused.prepare()
    assert store.objects == before
    assert list((tmp_path / "one").iterdir()) == []


def test_a_folder_in_the_place_of_the_lease_is_told_at_once(start: Start, tmp_path: Path) -> None:
    (tmp_path / "store" / RUN / "lease.json").mkdir(parents=True)
    with pytest.raises(Permanent, match=r"lease\.json is a folder"):
        start("one", through=DirectoryStore(tmp_path / "store")).prepare()


def test_failures_of_the_store_that_do_not_follow_on_each_other_are_waited_out_one_by_one(
    run: Run, store: MemoryStore, start: Start
) -> None:
    run.lease("held")
    flaky, waits = FlakyStore(store), Waits()
    looks = 0

    def now_and_then(operation: str, key: str) -> None:
        nonlocal looks
        if operation == "get" and key.endswith("lease.json"):
            looks += 1
            if looks == 20:
                run.lease("released")
            elif looks % 2:
                raise Transient("once")

    flaky.before = now_and_then
    preparer = start("one", through=flaky, cancelled=waits)
    prepared(preparer)
    assert waits.seconds == [0.375, 1.0] * 9 + [0.375]


# --- a restart while the store does not answer ---------------------------------------------------------------------


class Machine:
    """One that went on from the pair of step 30, and whose store can fail."""

    def __init__(self, run: Run, store: MemoryStore, start: Start) -> None:
        self.flaky, self.waits = FlakyStore(store), Waits()
        self.preparer = start("one", through=self.flaky, cancelled=self.waits)
        self.at = prepared(self.preparer)
        self.resume = self.preparer.bring(self.at, ())

    def again(self, *avoid: CheckpointName) -> CheckpointName | None:
        """From what the next start of the command goes on."""
        names = {str(name) for name in avoid}
        at = self.preparer.prepare(names)
        assert at is not None
        resume = self.preparer.bring(at, names)
        return None if resume is None else resume.name


@pytest.fixture
def machine(run: Run, store: MemoryStore, start: Start) -> Machine:
    return Machine(run, store, start)


def test_a_restart_does_not_wait_for_the_store_where_the_newest_pair_is_here(machine: Machine) -> None:
    machine.flaky.outage = Transient("away")
    assert machine.again() == name_of(3)
    assert machine.waits.seconds == []


def test_a_restart_waits_for_the_store_rather_than_start_over(machine: Machine) -> None:
    """A full disk has cost what was here."""
    machine.at.spool.remove(name_of(3))
    machine.flaky.fail("list", Transient("503"), times=3)
    assert machine.again() == name_of(3)
    assert len(machine.waits.seconds) == 2


def test_a_restart_waits_for_the_store_rather_than_call_the_run_invalid(machine: Machine) -> None:
    machine.flaky.fail("list", Transient("503"))
    assert machine.again(name_of(3)) == name_of(2)


def test_a_restart_waits_for_the_store_where_what_is_here_is_damaged(machine: Machine) -> None:
    machine.at.spool.file(name_of(3).file("h5")).write_bytes(b"rot")
    machine.flaky.fail("list", Transient("503"))
    assert machine.again() == name_of(3)


def test_a_restart_waits_for_the_store_where_only_older_pairs_are_here(machine: Machine) -> None:
    save_pair(machine.at.spool, name_of(1))
    machine.at.spool.remove(name_of(3))
    machine.flaky.fail("list", Transient("503"))
    assert machine.again() == name_of(3)


def test_a_restart_waits_for_the_store_where_the_loss_of_what_is_here_is_not_finite(machine: Machine) -> None:
    save_pair(machine.at.spool, name_of(4, loss=float("nan")))
    machine.at.spool.remove(name_of(3))
    machine.flaky.fail("list", Transient("503"))
    assert machine.again() == name_of(3)


# --- the end -------------------------------------------------------------------------------------------------------


def test_a_machine_that_was_replaced_does_not_mark_the_run_complete_and_says_that_it_lost_the_lease(
    run: Run, store: MemoryStore, start: Start, lost: list[str]
) -> None:
    preparer = start("one")
    prepared(preparer)
    run.lease("held")
    writes = list(store.writes)
    with pytest.raises(Fenced):
        preparer.finish(complete=True)
    assert lost == ["None (incarnation 2)"]
    assert store.writes == writes


def test_a_lease_that_the_store_does_not_take_back_is_left_to_expire(
    run: Run, store: MemoryStore, start: Start
) -> None:
    flaky = FlakyStore(store)
    preparer = start("one", through=flaky)
    prepared(preparer)
    assert preparer.lease is not None
    preparer.lease.stop()
    flaky.fail("replace", Permanent("no rights"))
    preparer.finish(complete=False)


def test_a_completion_whose_release_had_no_answer_is_none_the_less_one(
    run: Run, store: MemoryStore, start: Start, lost: list[str]
) -> None:
    """The release may have arrived, and the next machine may have the lease when it is repeated."""
    flaky = FlakyStore(store)
    preparer = start("one", through=flaky)
    prepared(preparer)

    def taken_meanwhile(operation: str, key: str) -> None:
        if operation == "replace" and f"{RUN}/complete.json" in store.objects:
            flaky.before = lambda operation, key: None
            run.lease("held")
            raise Transient("no answer")

    flaky.before = taken_meanwhile
    with pytest.raises(Transient):
        preparer.finish(complete=True)
    preparer.finish(complete=True)
    assert lost == []


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", ["progress", "log.txt"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, link_to_itself])
def test_what_stands_in_a_files_place_in_the_work_dir_is_named(
    start: Start, run: Run, tmp_path: Path, make: Callable[[Path], None], name: str
) -> None:
    folder = tmp_path / "one" / RUN
    folder.mkdir(parents=True)
    make(folder / name)
    with pytest.raises(SettingsError, match=f"--work-dir: .*/{RUN}/{name} is not a file .* move it away"):
        start("one").prepare()
    assert run.contents().incarnation == 1, "no lease was taken"


@pytest.mark.parametrize("complete", [True, False])
def test_an_extended_run_that_trained_nothing_more_says_so(start: Start, run: Run, complete: bool) -> None:
    """A run that was interrupted after its last epoch, and not marked yet, is no such run."""
    if complete:
        run.finish()
    events: list[str] = []
    preparer = start("one", extend=True, heard=events.append)
    prepared(preparer)
    preparer.finish(complete=True)
    assert ("nothing-new" in events) is complete


def test_an_extended_run_that_trained_more_says_nothing(start: Start, run: Run) -> None:
    run.finish()
    events: list[str] = []
    preparer = start("one", extend=True, heard=events.append)
    begun = prepared(preparer)
    train_one(preparer.run_store, begun)
    preparer.finish(complete=True)
    assert "nothing-new" not in events


def test_a_start_that_begins_a_run_says_so_and_one_that_continues_it_does_not(start: Start, store: MemoryStore) -> None:
    """A store that is not mounted looks like an empty one."""
    said = RecordedEvents()
    for machine in ("one", "two"):
        preparer = start(machine, said=said)
        assert preparer.bring(prepared(preparer), ()) is None
        preparer.finish(complete=False)
    assert [text for kind, text, _ in said.events if kind == "fresh"] == [
        f"run {RUN}: starting from the beginning (a new run: {store.uri} had none of that name)",
        f"run {RUN}: starting from the beginning",
    ]


def test_a_run_that_begins_beside_one_of_its_name_from_another_store_names_that_store(start: Start) -> None:
    """A wrong letter in --store begins another run, from zero."""
    mistyped = MemoryStore()
    mistyped.uri = "mistyped:"
    earlier = RecordedEvents()
    for name in ("other", "digits"):
        preparer = start("one", name=name, said=earlier)
        prepared(preparer)
        preparer.finish(complete=False)
    said = RecordedEvents()
    prepared(start("one", through=mistyped, said=said))
    assert "elsewhere" not in [kind for kind, _, _ in earlier.events]
    assert [text for kind, text, _ in said.events if kind == "elsewhere"] == [
        "run 00001-digits begins anew in 'mistyped:', while 00002-digits in this work dir is of 'memory:'; "
        "to continue that one, correct --store"
    ]


@pytest.fixture
def no_thread() -> Iterator[Callable[[], None]]:
    """No thread can be started, until it is called."""
    before = threading.stack_size(1 << 40)  # more than there can be
    yield lambda: threading.stack_size(before) and None
    threading.stack_size(before)


def test_a_machine_that_has_no_thread_to_give_now_is_asked_again(start: Start, no_thread: Callable[[], None]) -> None:
    """The lease's, say."""
    events: list[str] = []

    def heard(kind: str) -> None:
        events.append(kind)
        if events.count("no-thread") == 2:
            no_thread()

    waits = Waits()
    prepared(start("one", heard=heard, cancelled=waits))
    assert events.count("no-thread") == len(waits.seconds) == 2


def test_one_that_never_has_is_an_error_that_names_the_limit_and_gives_the_lease_back(
    start: Start, run: Run, no_thread: Callable[[], None]
) -> None:
    waits = Waits()
    with pytest.raises(HoldfastError, match=r"can't start new thread: the limit of processes .* TasksMax=.*: raise it"):
        start("one", cancelled=waits).prepare()
    assert sum(waits.seconds) < 30, "the expiry of a lease"
    no_thread()
    assert prepared(start("two")).incarnation == 3, "at once"


def test_a_fit_that_is_finished_is_not_said_to_be_resumed(start: Start, store: MemoryStore) -> None:
    first, said = start("one"), RecordedEvents()
    at = prepared(first)
    name = name_of(at.found.next_save, incarnation=at.incarnation)
    at.spool.commit(replace(save_pair(at.spool, name), reason=LAST_EPOCH, fit=2), durable=False)
    store_pair(store, at.spool, name)
    first.finish(complete=False)
    second = start("two", said=said)
    assert second.bring(prepared(second), ()) is not None
    assert [text for kind, text, _ in said.events if kind == "restored"] == [
        f"run {RUN}: its newest checkpoint is the end of fit 2: epoch {name.epoch} (step {name.step})"
    ]

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.clocks import Clock
from fakes.pairs import name_of, save_pair, store_only
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import Permanent, Transient
from holdfast.core.manifest import CheckpointName
from holdfast.core.policy import Best, Retention
from holdfast.spool import Spool
from holdfast.store.catalog import list_pairs, read_manifest
from holdfast.supervisor.upload.between_pairs import Closing, Prune, UploadLogs
from holdfast.supervisor.upload.logs import growing_logs
from holdfast.supervisor.upload.store_pair import store_pair

RUN = "00001-digits"


# --- logs and other files ------------------------------------------------------------------------------------------


LOG = f"{RUN}/log-i1.txt"
CLOSING = Closing(complete=False, deadline=None)


class Logs:
    """The log of a run that grows, what brings it, and what that gives way to."""

    def __init__(self, store: FlakyStore, spool: Spool) -> None:
        self.spool = spool
        self.clock = Clock()
        self.pressed = False
        self.left: float | None = None
        self.said: list[str] = []
        self.task = UploadLogs(
            store,
            growing_logs(spool, 1),
            lambda: self.pressed,
            lambda: self.left,
            self.clock,
            self.said.append,
            interval=30,
        )

    def grow(self, line: str = "x") -> None:
        with self.spool.file("log.txt").open("a") as file:
            file.write(line)

    def run(self, closing: Closing | None = None) -> int:
        """Runs what is due until there is no more; how many jobs there were."""
        return run_all(self.task, self.clock(), closing)

    def after(self, seconds: float) -> int:
        self.clock.advance(seconds)
        return self.run()


@pytest.fixture
def logs(store: FlakyStore, spool: Spool) -> Logs:
    return Logs(store, spool)


def run_all(task: UploadLogs | Prune, now: float, closing: Closing | None = None) -> int:
    """Runs its jobs until there is none; how many there were."""
    jobs = 0
    while (job := task.job(now, closing)) is not None:
        job()
        jobs += 1
        assert jobs < 100, "there is no end to it"
    return jobs


def test_logs_are_brought_now_and_then(memory: MemoryStore, logs: Logs) -> None:
    logs.grow("a")
    assert logs.run() == 1
    logs.grow("b")
    assert logs.after(29) == 0
    assert logs.after(1) == 1
    assert logs.after(30) == 0
    assert memory.versions[LOG] == [b"a", b"ab"]


def test_logs_and_other_files_are_brought_before_the_end(memory: MemoryStore, logs: Logs, spool: Spool) -> None:
    logs.grow("a")
    logs.run()
    logs.grow("b")
    spool.file("options.json").write_text("{}")
    logs.task.bring(f"{RUN}/options.json", spool.file("options.json"))
    assert logs.run(CLOSING) == 2
    assert memory.objects == {f"{RUN}/options.json": b"{}", LOG: b"ab"}


def test_asking_for_logs_to_bring_copies_nothing_for_who_asks_has_a_lock(
    memory: MemoryStore, logs: Logs, spool: Spool
) -> None:
    logs.grow("a")
    job = logs.task.job(logs.clock(), None)
    assert [path.name for path in spool.path.iterdir()] == ["log.txt"]
    logs.grow("b")
    assert job is not None
    job()
    assert memory.objects == {LOG: b"ab"}


def test_a_large_log_rests_longer_than_it_takes(memory: MemoryStore, store: FlakyStore, logs: Logs) -> None:
    store.before = lambda operation, key: logs.clock.advance(10)
    logs.grow("a")
    logs.run()
    logs.grow("b")
    assert logs.after(199) == 0
    assert logs.after(1) == 1
    logs.grow("c")
    assert logs.run(CLOSING) == 1, "the end does not wait"
    assert memory.versions[LOG] == [b"a", b"ab", b"abc"]


@pytest.mark.parametrize("reason", ["a pair", "a deadline"])
def test_a_log_on_its_way_gives_way_and_comes_later(
    memory: MemoryStore, store: FlakyStore, logs: Logs, reason: str
) -> None:
    def meddle(operation: str, key: str) -> None:
        logs.clock.advance(3)
        logs.pressed, logs.left = (True, None) if reason == "a pair" else (False, 110.0)

    store.before = meddle
    logs.grow("a")
    logs.run()
    assert memory.objects == {}
    store.before = lambda operation, key: None
    logs.pressed, logs.left = False, None
    assert logs.after(59) == 0, "it rests as if it had been brought"
    assert logs.after(1) == 1
    assert memory.objects == {LOG: b"a"}


@pytest.mark.parametrize(("left", "brought"), [(10.0, {LOG}), (2.0, set())], ids=["time", "no time"])
def test_the_end_brings_the_logs_up_to_its_deadline_and_leaves_time_for_the_lease(
    memory: MemoryStore, logs: Logs, left: float, brought: set[str]
) -> None:
    logs.grow("a")
    logs.left = left
    logs.run(Closing(complete=False, deadline=logs.clock() + left))
    assert set(memory.objects) == brought
    assert logs.said == ([] if brought else [f"the end of {LOG} is not in the store: no time is left to store it"])


def test_a_log_for_whose_copy_there_is_no_room_is_named_at_the_end(
    memory: MemoryStore, logs: Logs, spool: Spool
) -> None:
    logs.grow("a")
    copy = spool.file(".tmp-log-i1.txt")
    copy.mkdir()
    logs.run()
    assert logs.said == []
    logs.run(CLOSING)
    assert logs.said == [f"the end of {LOG} is not in the store: there is no room for a copy of it on this machine"]
    assert memory.objects == {}


def test_a_log_that_could_not_be_brought_is_brought_again(memory: MemoryStore, store: FlakyStore, logs: Logs) -> None:
    logs.grow("a")
    store.fail("put", Transient("away"))
    with pytest.raises(Transient):
        logs.run()
    assert logs.after(30) == 1
    assert memory.objects == {LOG: b"a"}


def test_at_the_end_a_log_that_could_not_be_brought_is_brought_again_at_once(
    memory: MemoryStore, store: FlakyStore, logs: Logs
) -> None:
    logs.grow("a")
    store.fail("put", Transient("away"))
    with pytest.raises(Transient):
        logs.run(CLOSING)
    assert logs.run(CLOSING) == 1
    assert memory.objects == {LOG: b"a"}


def test_what_the_store_refuses_for_good_is_given_up_at_the_end_and_told_once(
    memory: MemoryStore, store: FlakyStore, logs: Logs, spool: Spool
) -> None:
    logs.grow("a")
    for name in ("options.json", "notes.txt"):
        spool.file(name).write_text("{}")
        logs.task.bring(f"{RUN}/{name}", spool.file(name))
    for refused in ("options.json", "log-i1.txt"):
        store.fail("put", Permanent("is a folder"), suffix=refused)
    logs.run(CLOSING)
    logs.clock.advance(100)
    assert logs.run(CLOSING) == 0
    assert set(memory.objects) == {f"{RUN}/notes.txt"}
    assert sorted(logs.said) == [
        f"{RUN}/{name} is not in the store: is a folder" for name in ("log-i1.txt", "options.json")
    ]


def test_before_the_end_what_is_refused_is_tried_again_and_holds_up_no_log(
    memory: MemoryStore, store: FlakyStore, logs: Logs, spool: Spool
) -> None:
    """Somebody may set it right meanwhile."""
    logs.grow("a")
    spool.file("options.json").write_text("{}")
    logs.task.bring(f"{RUN}/options.json", spool.file("options.json"))
    store.fail("put", Permanent("no rights"), suffix="options.json")
    with pytest.raises(Permanent):
        logs.run()
    assert set(memory.objects) == {LOG}
    logs.run()
    assert set(memory.objects) == {LOG, f"{RUN}/options.json"}
    assert logs.said == []


@pytest.mark.parametrize("closing", [None, CLOSING], ids=["meanwhile", "at the end"])
def test_a_file_that_cannot_be_read_is_given_up_and_holds_up_no_other(
    memory: MemoryStore, store: FlakyStore, logs: Logs, spool: Spool, closing: Closing | None
) -> None:
    for name in ("options.json", "notes.txt"):
        spool.file(name).write_text("{}")
        logs.task.bring(f"{RUN}/{name}", spool.file(name))
    store.before = lambda operation, key: in_its_place(spool.file("options.json"))
    logs.run(closing)
    assert set(memory.objects) == {f"{RUN}/notes.txt"}
    assert logs.said == [
        f"{RUN}/options.json is not in the store: {spool.file('options.json')} cannot be read: Is a directory"
    ]


def in_its_place(path: Path) -> None:
    """A folder, which nobody can read as a file."""
    path.unlink(missing_ok=True) if not path.is_dir() else None
    path.mkdir(exist_ok=True)


def test_a_file_that_is_gone_is_forgotten(memory: MemoryStore, logs: Logs, spool: Spool) -> None:
    logs.task.bring(f"{RUN}/gone", spool.file("gone"))
    logs.run(CLOSING)
    assert memory.writes == []


# --- pruning -------------------------------------------------------------------------------------------------------


def pruning(
    store: FlakyStore, keep: Retention, *stored: int | CheckpointName, say: Callable[[str], None] = lambda text: None
) -> Prune:
    """The newest of ``stored`` has just been stored by this start, if the store has it."""
    names = [name_of(one) if isinstance(one, int) else one for one in stored]
    prune = Prune(store, RUN, keep, names, say)
    prune.stored(read_manifest(store, RUN, names[-1]))
    return prune


def saves(memory: MemoryStore) -> list[int]:
    return [name.save for name in reversed(list_pairs(memory, RUN))]


def test_what_retention_lets_go_is_removed_as_pairs_come_in(
    memory: MemoryStore, store: FlakyStore, spool: Spool
) -> None:
    manifests = [store_only(memory, spool, name_of(save)) for save in range(1, 6)]
    prune = pruning(store, Retention(2), 1, 2, 3, 4)
    run_all(prune, 0)
    assert saves(memory) == [3, 4, 5]
    prune.stored(manifests[4])
    run_all(prune, 0)
    assert saves(memory) == [4, 5]
    assert {key.rpartition(".")[0] for key in memory.objects} == {f"{RUN}/{name_of(4)}", f"{RUN}/{name_of(5)}"}


def test_a_start_removes_nothing_before_it_has_stored_a_pair_itself(
    memory: MemoryStore, store: FlakyStore, spool: Spool
) -> None:
    """The newest pair that it found may be damaged, and an older one the only one that is whole."""
    manifests = [store_only(memory, spool, name_of(save)) for save in (1, 2)]
    prune = Prune(store, RUN, Retention(1), [name_of(1)], lambda text: None)
    assert run_all(prune, 0, closing=CLOSING) == 0
    assert saves(memory) == [1, 2]
    prune.stored(manifests[1])
    run_all(prune, 0)
    assert saves(memory) == [2]


@pytest.mark.parametrize("first", [name_of(1), name_of(5, loss=float("nan"))], ids=str)
def test_what_a_restart_might_need_stays_until_there_is_a_newer_pair_of_this_start(
    memory: MemoryStore, store: FlakyStore, spool: Spool, first: CheckpointName
) -> None:
    """An older pair that an earlier start left here, or one without a finite loss, replaces no valid one."""
    earlier = [name_of(2), name_of(3)]  # of which the newest may be damaged
    manifests = {name: save_pair(spool, name) for name in (*earlier, first, name_of(6))}
    for name in manifests:
        store_pair(store, spool, name)
    prune = Prune(store, RUN, Retention(1), earlier, lambda text: None)
    prune.stored(manifests[first])
    assert run_all(prune, 0) == 0
    prune.stored(manifests[name_of(6)])
    run_all(prune, 0)
    assert list_pairs(memory, RUN) == [name_of(6)]


def test_without_rules_nothing_is_removed(memory: MemoryStore, store: FlakyStore, spool: Spool) -> None:
    store_only(memory, spool, name_of(1))
    assert run_all(pruning(store, Retention(), 1), 0) == 0


def test_the_best_by_another_metric_is_found_in_the_manifests_which_are_read_once(
    memory: MemoryStore, store: FlakyStore, spool: Spool
) -> None:
    for save, accuracy in enumerate((0.7, 0.9, 0.8), 1):
        save_pair(spool, name_of(save), val_accuracy=accuracy)
        store_only_saved(memory, spool, save)
    prune = pruning(store, Retention(1, best=Best("val_accuracy", greatest=True)), 1, 2, 3)
    run_all(prune, 0)
    assert saves(memory) == [2, 3]
    memory.reads.clear()
    prune.stored(save_pair(spool, name_of(4), val_accuracy=0.1))
    store_only_saved(memory, spool, 4)
    memory.reads.clear()
    run_all(prune, 0)
    assert saves(memory) == [2, 4]
    assert memory.reads == []


def store_only_saved(memory: MemoryStore, spool: Spool, save: int) -> None:
    store_pair(memory, spool, name_of(save))


def test_the_best_by_loss_needs_no_manifest_but_those_of_the_pairs_that_stay(
    memory: MemoryStore, store: FlakyStore, spool: Spool
) -> None:
    best = name_of(1, loss=0.1)
    store_only(memory, spool, best)
    for save in (2, 3):
        store_only(memory, spool, name_of(save))
    memory.reads.clear()
    prune = pruning(store, Retention(1, best=Best()), best, 2, 3)
    memory.reads.clear()
    run_all(prune, 0)
    assert saves(memory) == [1, 3]
    assert memory.reads == [f"{RUN}/{best.file('json')}"], "the newest one's is known"


def test_a_metric_that_no_pair_has_removes_nothing_and_is_told_of_once(
    memory: MemoryStore, store: FlakyStore, spool: Spool
) -> None:
    """A slip of the pen must not cost the best pair."""
    names = [name_of(save) for save in range(1, 5)]
    for save, name in enumerate(names, 1):
        save_pair(spool, name, accuracy=0.5, loss=0.5)
        store_only_saved(memory, spool, save)
    said: list[str] = []
    keep = Retention(best=Best("vall_acc", greatest=True))
    prune = pruning(store, keep, *names[:3], say=said.append)
    run_all(prune, 0)
    prune.stored(save_pair(spool, name_of(4), accuracy=0.9, loss=0.5))
    run_all(prune, 0)
    assert saves(memory) == [1, 2, 3, 4]
    assert said == [
        "--keep-best vall_acc: no checkpoint has that metric; they have accuracy, loss; nothing is pruned until one has"
    ]


def test_pruning_begins_with_the_first_pair_that_has_the_metric(
    memory: MemoryStore, store: FlakyStore, spool: Spool
) -> None:
    """Those in the middle of the first epoch have no validation yet."""
    for save in (1, 2):
        store_only(memory, spool, name_of(save))
    prune = pruning(store, Retention(1, best=Best("val_loss")), 1, 2)
    run_all(prune, 0)
    assert saves(memory) == [1, 2]
    prune.stored(save_pair(spool, name_of(3), val_loss=0.5))
    store_only_saved(memory, spool, 3)
    run_all(prune, 0)
    assert saves(memory) == [3]


def test_an_outage_in_the_middle_is_made_good_later(memory: MemoryStore, store: FlakyStore, spool: Spool) -> None:
    for save in range(1, 5):
        store_only(memory, spool, name_of(save))
    prune = pruning(store, Retention(1), 1, 2, 3, 4)
    store.fail("delete", Transient("away"), suffix=f"{name_of(2)}.h5")
    with pytest.raises(Transient):
        run_all(prune, 0)
    run_all(prune, 1)
    assert saves(memory) == [4]
    assert len(memory.objects) == 3


def test_who_has_no_right_to_delete_is_told_once(memory: MemoryStore, store: FlakyStore, spool: Spool) -> None:
    manifests = [store_only(memory, spool, name_of(save)) for save in range(1, 4)]
    said: list[str] = []
    prune = pruning(store, Retention(1), 1, 2, 3, say=said.append)
    store.fail("delete", Permanent("AccessDenied"), times=9)
    run_all(prune, 0)
    prune.stored(manifests[2])
    run_all(prune, 0)
    assert said == ["nothing is pruned any more: AccessDenied"]


def test_a_deletion_that_fails_at_the_end_is_left_to_the_next_start(
    memory: MemoryStore, store: FlakyStore, spool: Spool
) -> None:
    for save in (1, 2, 3):
        store_only(memory, spool, name_of(save))
    prune = pruning(store, Retention(1), 1, 2, 3)
    store.fail("delete", Transient("away"), suffix=f"{name_of(2)}.json")
    assert run_all(prune, 0, closing=CLOSING) == 1
    assert saves(memory) == [2, 3]


def test_what_the_newest_pair_needs_stays_in_the_store_whoever_stored_it(
    memory: MemoryStore, store: FlakyStore, spool: Spool
) -> None:
    store_only(memory, spool, name_of(1))
    store_only(memory, spool, name_of(2))
    store_only(memory, spool, name_of(3), needs=(name_of(1),))
    task = pruning(store, Retention(1), 1, 2, 3)
    assert run_all(task, 0) == 1
    assert saves(memory) == [1, 3]
    manifest = save_pair(spool, name_of(4), needs=(name_of(1),))
    store_pair(memory, spool, name_of(4))
    task.stored(manifest)
    run_all(task, 0)
    assert saves(memory) == [1, 4]

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.pairs import name_of, save_pair, store_only
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.errors import Permanent, Transient
from holdfast.core.policy import Best, Retention
from holdfast.spool import Spool
from holdfast.store.catalog import list_pairs
from holdfast.supervisor.commit import store_pair
from holdfast.supervisor.errands import BringLogs, Closing, Prune

RUN = "00001-digits"


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def store(memory: MemoryStore) -> FlakyStore:
    return FlakyStore(memory)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / RUN)


# --- logs and other files ------------------------------------------------------------------------------------------


class Growing:
    """What has grown since the last call."""

    def __init__(self) -> None:
        self.files: list[tuple[str, Path]] = []

    def __call__(self) -> list[tuple[str, Path]]:
        grown, self.files = self.files, []
        return grown


@pytest.fixture
def growing() -> Growing:
    return Growing()


@pytest.fixture
def logs(store: FlakyStore, growing: Growing) -> BringLogs:
    return BringLogs(store, growing, interval=30)


CLOSING = Closing(complete=False, deadline=None)


def run_all(errand: BringLogs | Prune, now: float, closing: Closing | None = None) -> int:
    """Runs its jobs until there is none; how many there were."""
    jobs = 0
    while (job := errand.job(now, closing)) is not None:
        job()
        jobs += 1
    return jobs


def test_logs_are_brought_now_and_then(memory: MemoryStore, logs: BringLogs, growing: Growing, spool: Spool) -> None:
    spool.file("log.txt").write_bytes(b"some lines")
    growing.files = [(f"{RUN}/log-i1.txt", spool.file("log.txt"))]
    assert run_all(logs, 100) == 1
    growing.files = [(f"{RUN}/log-i1.txt", spool.file("log.txt"))]
    assert run_all(logs, 129) == 0
    assert run_all(logs, 130) == 1
    assert memory.writes == [f"{RUN}/log-i1.txt"] * 2


def test_logs_and_other_files_are_brought_before_the_end(
    memory: MemoryStore, logs: BringLogs, growing: Growing, spool: Spool
) -> None:
    run_all(logs, 100)
    for name in ("log.txt", "options.json"):
        spool.file(name).write_text(name)
    logs.bring(f"{RUN}/options.json", spool.file("options.json"))
    growing.files = [(f"{RUN}/log-i1.txt", spool.file("log.txt"))]
    assert run_all(logs, 101, closing=CLOSING) == 2
    assert memory.objects == {f"{RUN}/options.json": b"options.json", f"{RUN}/log-i1.txt": b"log.txt"}


def test_a_log_that_could_not_be_brought_is_brought_again(
    memory: MemoryStore, store: FlakyStore, logs: BringLogs, spool: Spool
) -> None:
    spool.file("log.txt").write_text("lines")
    logs.bring(f"{RUN}/log-i1.txt", spool.file("log.txt"))
    store.fail("put", Transient("away"))
    with pytest.raises(Transient):
        run_all(logs, 100)
    assert run_all(logs, 100) == 1
    assert memory.objects == {f"{RUN}/log-i1.txt": b"lines"}


def test_a_file_that_is_gone_is_forgotten(memory: MemoryStore, logs: BringLogs, spool: Spool) -> None:
    logs.bring(f"{RUN}/gone", spool.file("gone"))
    run_all(logs, 100, closing=CLOSING)
    assert memory.writes == []


# --- pruning -------------------------------------------------------------------------------------------------------


def pruning(store: FlakyStore, keep: Retention, *stored: int) -> Prune:
    return Prune(store, RUN, keep, [name_of(save) for save in stored], lambda text: None)


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


def test_the_best_by_loss_needs_no_manifest(memory: MemoryStore, store: FlakyStore, spool: Spool) -> None:
    best = name_of(1, loss=0.1)
    store_only(memory, spool, best)
    for save in (2, 3):
        store_only(memory, spool, name_of(save))
    memory.reads.clear()
    prune = Prune(store, RUN, Retention(1, best=Best()), [best, name_of(2), name_of(3)], lambda text: None)
    run_all(prune, 0)
    assert saves(memory) == [1, 3]
    assert memory.reads == []


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
    prune = Prune(store, RUN, Retention(1), [manifest.name for manifest in manifests], said.append)
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

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.pairs import save_pair
from fakes.stored import Run, name_of
from fakes.stores import FlakyStore, MemoryStore
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import SettingsError, Transient
from holdfast.core.policy import Best, Retention
from holdfast.inspect.prune import Pruning, plan, remove
from holdfast.inspect.verify import check_pair
from holdfast.spool import Spool
from holdfast.store import Store
from holdfast.store.contents import Contents, Listed
from holdfast.supervisor.upload.store_pair import store_pair

LAST = Retention(last=1)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run(store: MemoryStore, tmp_path: Path) -> Run:
    return Run(store, tmp_path)


class Planned:
    """What is to go, and what was warned of."""

    def __init__(self, run: Run, scratch: Path, retention: Retention, store: Store | None = None) -> None:
        self.warnings: list[str] = []
        self.contents: Contents = run.contents()
        self.store = store or run.store
        self.pruning: Pruning = plan(
            self.store, self.contents, retention, scratch, self.warnings.append, lambda name, done: None
        )

    @property
    def pairs(self) -> list[CheckpointName]:
        return [listed.name for listed in self.pruning.pairs]

    @property
    def orphans(self) -> list[CheckpointName]:
        return [listed.name for listed in self.pruning.orphans]

    def do(self) -> list[Listed]:
        gone: list[Listed] = []
        remove(self.store, self.contents, self.pruning, gone.append)
        return gone


def test_the_newest_stay_and_the_others_go_oldest_first(run: Run, scratch: Path) -> None:
    run.pairs(1, 2, 3, 4)
    planned = Planned(run, scratch, Retention(last=2))
    assert planned.pairs == [name_of(1), name_of(2)]
    planned.do()
    assert run.names() == [name_of(4), name_of(3)]
    assert len(run.store.list("")) == 2 * 3 + 1


def test_planning_removes_nothing_and_promises_exactly_what_goes(run: Run, store: MemoryStore, scratch: Path) -> None:
    run.pairs(1, 2)
    run.orphan(name_of(1, incarnation=0))
    before = dict(store.objects)
    planned = Planned(run, scratch, LAST)
    assert store.objects == before
    assert tuple(planned.do()) == (*planned.pruning.orphans, *planned.pruning.pairs)
    gone = sum(len(data) for key, data in before.items() if key not in store.objects)
    assert planned.pruning.size == gone


def test_manifests_go_first(run: Run, scratch: Path) -> None:
    run.pairs(1, 2)
    flaky = FlakyStore(run.store).fail("delete", Transient("away"), suffix=".h5")
    with pytest.raises(Transient):
        Planned(run, scratch, LAST, flaky).do()
    assert run.names() == [name_of(2)]
    assert [listed.name for listed in run.contents().orphans] == [name_of(1)]


def test_the_newest_valid_pair_stays_behind_damaged_ones(run: Run, scratch: Path) -> None:
    run.pairs(1, 2, 3, 4)
    run.flip(name_of(4))
    run.damage(name_of(3), "pkl", None)
    planned = Planned(run, scratch, LAST)
    assert planned.pairs == [name_of(1)]
    assert len(planned.warnings) == 2
    planned.do()
    assert run.names() == [name_of(4), name_of(3), name_of(2)]


def test_pairs_that_diverged_push_no_usable_one_out(run: Run, scratch: Path) -> None:
    run.pairs(1, 2)
    run.pair(name_of(3, loss=float("nan")))
    assert Planned(run, scratch, LAST).pairs == [name_of(1)]


def test_if_all_pairs_are_damaged_none_goes(run: Run, scratch: Path) -> None:
    for name in run.pairs(1, 2, 3):
        run.flip(name)
    assert Planned(run, scratch, LAST).pairs == []


def test_nothing_is_read_where_nothing_goes(run: Run, store: MemoryStore, scratch: Path) -> None:
    run.pairs(1, 2)
    store.reads.clear()
    assert Planned(run, scratch, Retention(last=2)).pairs == []
    assert store.reads == []


def test_the_best_by_the_loss_needs_no_manifests_but_those_of_the_pairs_that_stay(
    run: Run, store: MemoryStore, scratch: Path
) -> None:
    for save, loss in ((1, 0.5), (2, 0.1), (3, 0.4)):
        run.pair(name_of(save, loss=loss))
    store.reads.clear()
    planned = Planned(run, scratch, Retention(best=Best()))
    assert planned.pairs == [name_of(1, loss=0.5)]
    kept = {run.key(name_of(2, loss=0.1), "json"), run.key(name_of(3, loss=0.4), "json")}
    assert {key for key in store.reads if key.endswith(".json")} == kept


@pytest.mark.parametrize(("best", "kept"), [("val_accuracy:max", 2), ("val_accuracy", 2), ("val_accuracy:min", 1)])
def test_the_best_by_another_metric_is_found_in_the_manifests(run: Run, scratch: Path, best: str, kept: int) -> None:
    for save, value in ((1, 0.5), (2, 0.9), (3, 0.7), (4, 0.6)):
        run.pair(name_of(save), {"val_accuracy": value})
    Planned(run, scratch, Retention(best=Best.of(best))).do()
    assert run.names() == [name_of(4), name_of(kept)]


def test_a_metric_that_no_checkpoint_has_is_a_settings_error(run: Run, scratch: Path) -> None:
    run.pair(name_of(1), {"val_loss": 0.5})
    run.pair(name_of(2), {"val_loss": 0.4})
    with pytest.raises(SettingsError, match="val_acuracy: no checkpoint has that metric; they have val_loss"):
        Planned(run, scratch, Retention(best=Best("val_acuracy")))


def test_a_pair_with_an_unreadable_manifest_is_left_alone_when_metrics_decide(run: Run, scratch: Path) -> None:
    for save in (1, 2, 3):
        run.pair(name_of(save), {"val_loss": 1.0 / save})
    run.damage(name_of(1), "json")
    planned = Planned(run, scratch, Retention(best=Best("val_loss")))
    assert planned.pairs == [name_of(2)]
    assert "unreadable manifest" in planned.warnings[0]


# --- data without a manifest ---------------------------------------------------------------------------------------


def test_left_over_data_of_older_incarnations_goes_and_of_the_newest_stays(run: Run, scratch: Path) -> None:
    run.pairs(1)
    run.orphan(name_of(2))
    run.pairs(3, incarnation=2)
    run.orphan(name_of(4, incarnation=2))
    planned = Planned(run, scratch, Retention(last=9))
    assert planned.orphans == [name_of(2)]
    planned.do()
    assert [listed.name for listed in run.contents().orphans] == [name_of(4, incarnation=2)]
    assert run.names() == [name_of(3, incarnation=2), name_of(1)]


def test_left_over_data_stays_while_a_machine_holds_the_lease(run: Run, scratch: Path) -> None:
    run.orphan(name_of(1))
    run.pairs(2, incarnation=2)
    run.lease("held")
    planned = Planned(run, scratch, LAST)
    assert planned.orphans == []
    assert [listed.name for listed in planned.pruning.held_orphans] == [name_of(1)]
    run.lease("released")
    assert Planned(run, scratch, LAST).orphans == [name_of(1)]


def test_a_machine_that_comes_while_left_over_data_is_removed_keeps_the_rest(run: Run, scratch: Path) -> None:
    run.orphan(name_of(1))
    run.orphan(name_of(2))
    run.pairs(3, incarnation=2)
    flaky = FlakyStore(run.store)

    def come(operation: str, key: str) -> None:
        if operation == "delete":
            run.lease("held")

    planned = Planned(run, scratch, LAST, flaky)
    flaky.before = come
    assert [listed.name for listed in planned.do()] == [name_of(1)]
    assert [listed.name for listed in run.contents().orphans] == [name_of(2)]


# --- while a training goes on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [("put", ".h5"), ("put", ".pkl"), ("create", ".json")])
def test_pruning_in_the_middle_of_an_upload_leaves_the_new_pair_whole(
    run: Run, scratch: Path, tmp_path: Path, at: tuple[str, str]
) -> None:
    run.pairs(1, 2)
    run.orphan(name_of(3))
    run.pairs(4, incarnation=2)
    run.lease("held")
    spool = Spool(tmp_path / "machine" / "00001-digits")
    new = save_pair(spool, name_of(5, incarnation=2)).name
    flaky = FlakyStore(run.store)
    pruned: list[list[Listed]] = []

    def prune(operation: str, key: str) -> None:
        if (operation, key[-len(at[1]) :]) == at:
            pruned.append(Planned(run, scratch, LAST).do())

    flaky.before = prune
    store_pair(flaky, spool, new)

    assert [listed.name for listed in pruned[0]] == [name_of(1), name_of(2)]
    assert run.names() == [new, name_of(4, incarnation=2)]
    for listed in run.contents().pairs:
        assert check_pair(run.store, run.id, listed, scratch, lambda name, done: None).status == "whole"


def test_a_pair_that_an_earlier_incarnation_owed_survives_a_pruning_in_the_middle_of_its_upload(
    run: Run, scratch: Path, tmp_path: Path
) -> None:
    run.pairs(1)
    run.pairs(9, incarnation=3)  # the machine came back, stored its newest pair first, and now brings what it owes
    run.lease("held")
    spool = Spool(tmp_path / "machine" / "00001-digits")
    owed = save_pair(spool, name_of(5, incarnation=2)).name
    flaky = FlakyStore(run.store)

    def prune(operation: str, key: str) -> None:
        if operation == "create":
            Planned(run, scratch, Retention(last=2)).do()

    flaky.before = prune
    store_pair(flaky, spool, owed)

    [listed] = [listed for listed in run.contents().pairs if listed.name == owed]
    assert check_pair(run.store, run.id, listed, scratch, lambda name, done: None).status == "whole"


def test_a_pair_that_is_stored_while_pruning_decides_is_not_touched(run: Run, scratch: Path) -> None:
    run.pairs(1, 2)
    planned = Planned(run, scratch, LAST)
    run.pairs(3)
    planned.do()
    assert run.names() == [name_of(3), name_of(2)]


@pytest.mark.parametrize("complete", [False, True])
def test_what_the_newest_pair_needs_stays_until_the_run_is_complete(
    run: Run, store: MemoryStore, tmp_path: Path, scratch: Path, complete: bool
) -> None:
    run.pairs(1, 2)
    spool = Spool(tmp_path / str(run.id))
    save_pair(spool, name_of(3), needs=(name_of(1),))
    store_pair(store, spool, name_of(3))
    if complete:
        store.create(f"{run.id}/complete.json", b"{}")
    assert Planned(run, scratch, LAST).pairs == ([name_of(1)] if complete else []) + [name_of(2)]

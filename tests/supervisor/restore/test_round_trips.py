"""Between a machine and S3 there are 20 to 50 ms: a start waits for few answers, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fakes.events import RecordedEvents
from fakes.rounds import Rounds
from fakes.stored import DIGITS, Run
from fakes.stores import FlakyStore, LaxStore, MemoryStore
from holdfast.core.artifacts import Limits
from holdfast.core.errors import Transient
from holdfast.core.runs import COMPLETE_FILE, RUN_FILE
from holdfast.spool import Spool
from holdfast.store import Store
from holdfast.store.conditional_write_fallback import Conditional
from holdfast.supervisor.restore.prepare import Preparer
from holdfast.supervisor.settings import RunSettings
from holdfast.supervisor.upload.artifacts import Artifacts
from holdfast.supervisor.upload.store_pair import store_pair

AS_FAR_AS_THE_COMMAND = 4


def conditional(store: Store) -> Conditional:
    return Conditional(store, lambda text: None, lambda seconds: None)


def start(store: Store, work_dir: Path, **settings: object) -> Preparer:
    """All that a start does before its command: the run is opened, its artifacts are brought."""
    run = RunSettings(name="digits", work_dir=work_dir, command=("true",), **settings)  # type: ignore[arg-type]
    say = RecordedEvents()
    preparer = Preparer(run, store, say, lambda path: None, store_pair, lambda by: None, lambda: None)
    prepared = preparer.prepare()
    assert prepared is not None
    Artifacts(preparer.run_store, prepared.spool, Limits(), say).restore(preparer.cancelled)
    return preparer


def end(preparer: Preparer, complete: bool = False) -> None:
    preparer.finish(complete)
    preparer.close()


def rounds_of(store: MemoryStore, work_dir: Path, **settings: object) -> Rounds:
    with Rounds(store) as rounds:
        preparer = start(conditional(rounds), work_dir, **settings)
    end(preparer)
    return rounds


def pairs(store: MemoryStore, scratch: Path, *saves: int) -> None:
    run = f"{DIGITS}/{RUN_FILE}"
    begun = store.objects.pop(run)
    Run(store, scratch).pairs(*saves)
    store.objects[run] = begun


@pytest.fixture
def stored(scratch: Path) -> Callable[[MemoryStore], MemoryStore]:
    """A store with the run of an earlier start, which stored pairs and gave back its lease."""

    def make(store: MemoryStore) -> MemoryStore:
        first = conditional(store)
        first.supported()  # a heartbeat or two later
        preparer = start(first, scratch / "earlier")
        pairs(store, scratch, 1, 2, 3)
        end(preparer)
        return store

    return make


def test_a_first_start_waits_for_four_answers(tmp_path: Path) -> None:
    rounds = rounds_of(MemoryStore(), tmp_path)
    assert rounds.count <= AS_FAR_AS_THE_COMMAND, rounds.asked


@pytest.mark.parametrize("settings", [{}, {"max_hours": 3.0}])
def test_a_resume_on_a_new_machine_waits_for_four_answers(
    stored: Callable[[MemoryStore], MemoryStore], tmp_path: Path, settings: dict[str, object]
) -> None:
    rounds = rounds_of(stored(MemoryStore()), tmp_path / "other", **settings)
    assert rounds.count <= AS_FAR_AS_THE_COMMAND, rounds.asked


@pytest.mark.parametrize(("create", "replace"), [("kept", "bare"), ("ignored", "kept")])
def test_so_does_one_from_a_store_with_other_conditions(
    stored: Callable[[MemoryStore], MemoryStore], tmp_path: Path, create: str, replace: str
) -> None:
    rounds = rounds_of(stored(LaxStore(create, replace)), tmp_path / "other")
    assert rounds.count <= AS_FAR_AS_THE_COMMAND, rounds.asked


def test_a_pair_that_was_stored_while_the_lease_was_waited_for_is_found(
    stored: Callable[[MemoryStore], MemoryStore], tmp_path: Path, scratch: Path
) -> None:
    """What was read before the lease was taken is not what the run resumes from."""
    store = stored(MemoryStore())

    class Draining(Conditional):
        def replace(self, key: str, data: bytes, if_match: str) -> str:
            if key.endswith("lease.json") and not drained:
                drained.append(True)
                pairs(store, scratch, 4)
            return super().replace(key, data, if_match)

    drained: list[bool] = []
    preparer = start(Draining(store, lambda text: None), tmp_path / "other")
    assert drained
    prepared = preparer.prepare()
    assert prepared is not None
    assert prepared.found.newest_first[0].save == 4
    end(preparer)


@pytest.mark.parametrize(("operation", "suffix"), [("get", RUN_FILE), ("get", COMPLETE_FILE), ("list", "model-")])
def test_a_start_asks_again_for_what_could_not_be_read_ahead(
    stored: Callable[[MemoryStore], MemoryStore], tmp_path: Path, operation: str, suffix: str
) -> None:
    store = FlakyStore(stored(MemoryStore())).fail(operation, Transient("away"), suffix=suffix)
    preparer = start(conditional(store), tmp_path / "other", max_hours=3.0)
    prepared = preparer.prepare()
    assert prepared is not None
    assert prepared.found.newest_first[0].save == 3
    end(preparer)


def test_a_spool_is_claimed_by_the_run_that_was_begun_just_now(tmp_path: Path) -> None:
    store = MemoryStore()
    end(start(conditional(store), tmp_path))
    [folder] = (path for path in tmp_path.iterdir() if path.is_dir())
    assert Spool(folder).file("store.json").exists()

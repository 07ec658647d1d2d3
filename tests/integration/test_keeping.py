"""What a run goes on from, and which of its checkpoints stay: real processes, real stores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from fakes.finals import final_state
from holdfast.core.errors import Exit
from holdfast.drill.compare_runs import differences
from holdfast.store import Store, StoreSettings, open_store
from holdfast.store.catalog import list_pairs

from .conftest import on_both
from .daemons import SCRIPTS, Machines

RUN = "00001-count"
EPOCHS = {"EVERY": "20", "STEPS": "60"}  # each commit is an epoch's, so each is stored


def store_of(park: Machines) -> Store:
    return open_store(park.store, StoreSettings(endpoint_url=park.environment.get("HOLDFAST_ENDPOINT_URL")))


def steps(park: Machines, run: str = RUN) -> list[int]:
    return [name.step for name in list_pairs(store_of(park), run)]


def test_the_store_keeps_what_it_is_told_to_and_all_else_by_default(park: Machines) -> None:
    assert park.start("one", **EPOCHS).wait() == Exit.COMPLETE
    assert steps(park) == [60, 60, 40, 20]
    keeping = park.start("two", "--extend", "--keep-last", "2", "--keep-best", "loss", **{**EPOCHS, "STEPS": "100"})
    assert keeping.wait() == Exit.COMPLETE
    assert steps(park) == [100, 100, 20]
    files = [entry.key for entry in store_of(park).list(f"{RUN}/model-")]
    assert len(files) == 9


def test_a_run_forks_from_a_checkpoint_of_another_and_does_so_once(park: Machines) -> None:
    assert park.start("one", **EPOCHS).wait() == Exit.COMPLETE
    fork = ("--run", "other", "--from", "count@20")
    first = park.start("two", *fork, STEPS="50", HOLD_AT="45")
    first.until("from step 20")
    first.until("step 40 (")
    first.terminate()
    again = park.start("two", *fork, STEPS="50")
    assert again.wait() == Exit.COMPLETE
    assert "from step 45" in again.text
    assert "was done before" in again.text
    assert park.start("three", *fork, STEPS="50").wait() == Exit.COMPLETE
    assert steps(park) == [60, 60, 40, 20]
    assert steps(park, "00002-other")[-1] == 20
    assert same_end(park, RUN, "00002-other") is False


@on_both("park")
def test_a_run_rolls_back_to_an_older_checkpoint_of_its_own_and_loses_none(park: Machines) -> None:
    assert park.start("one", **EPOCHS).wait() == Exit.COMPLETE
    before = final_state(store_of(park), RUN)
    back = park.start("one", "--from", f"{RUN}@20", **EPOCHS)
    assert back.wait() == Exit.COMPLETE
    assert "from step 20" in back.text
    assert not differences(before, final_state(store_of(park), RUN))
    assert steps(park) == [60, 60, 40, 20, 60, 60, 40, 20]
    events = park.events("one")
    assert [event["checkpoint"] for event in events if event["event"] == "forked"] != []


def same_end(park: Machines, one: str, other: str) -> bool:
    return not differences(final_state(store_of(park), one), final_state(store_of(park), other))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("count@41", "the nearest steps are 20, 40, 60"),
        ("nobody@20", "there is no run 'nobody'"),
        ("count", "give RUN@STEP"),
        ("count@-1", "give RUN@STEP"),
        ("../x@1", "--from '../x'"),
    ],
)
def test_a_source_that_is_not_there_is_a_clear_error_and_makes_no_run(
    local_park: Machines, source: str, told: str
) -> None:
    assert local_park.start("one", **EPOCHS).wait() == Exit.COMPLETE
    daemon = local_park.start("two", "--run", "other", "--from", source)
    assert daemon.wait() == Exit.USAGE
    assert told in daemon.text
    assert [entry.key for entry in store_of(local_park).list("", shallow=True)] == [f"{RUN}/"]


def test_a_damaged_source_is_a_clear_error_and_makes_no_run(local_park: Machines) -> None:
    assert local_park.start("one", **EPOCHS).wait() == Exit.COMPLETE
    damaged = next(Path(local_park.store, RUN).glob("model-*-00000040-*.h5"))
    damaged.write_bytes(bytes([damaged.read_bytes()[0] ^ 1]) + damaged.read_bytes()[1:])
    daemon = local_park.start("two", "--run", "other", "--from", "count@40")
    assert daemon.wait() == Exit.USAGE
    assert "that checkpoint cannot be used" in daemon.text
    assert [entry.key for entry in store_of(local_park).list("", shallow=True)] == [f"{RUN}/"]


def test_a_checkpoint_that_the_command_dies_of_is_passed_over(local_park: Machines) -> None:
    first = local_park.start("one", HOLD_AT="35")
    first.until("stored epoch 1, step 30")
    assert first.terminate() == Exit.STOPPED
    second = local_park.start("two", DIES_FROM="35")
    assert second.wait() == Exit.COMPLETE
    assert second.lines.count("from step 35") == 3
    assert "died of it 3 times" in second.text
    assert "from step 30" in second.text


def test_a_checkpoint_made_under_other_conditions_is_told_of(local_park: Machines, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text((SCRIPTS / "count.py").read_text())
    first = local_park.start("one", command=[sys.executable, str(script)], HOLD_AT="35")
    first.until("stored epoch 1, step 30")
    assert first.terminate() == Exit.STOPPED
    script.write_text(script.read_text() + "# changed\n")
    second = local_park.start("one", command=[sys.executable, str(script)])
    assert second.wait() == Exit.COMPLETE
    assert "not as it was when the checkpoint was made: the script is another" in second.text
    same = local_park.start("one", "--extend", command=[sys.executable, str(script)], STEPS="70")
    assert same.wait() == Exit.COMPLETE
    assert "not as it was" not in same.text


def test_no_secret_of_the_command_or_the_environment_is_written(local_park: Machines) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('hunter2-hunter2 is wrong')", "--password", "tiger-tiger"]
    daemon = local_park.start("one", command=command, DB_PASSWORD="hunter2-hunter2")
    assert daemon.wait() == Exit.FAILED
    folder = local_park.work_dir("one") / RUN
    for file in ("events.jsonl", "training_options.json"):
        text = (folder / file).read_text()
        assert "hunter2-hunter2" not in text
        assert "tiger-tiger" not in text
    assert json.loads((folder / "training_options.json").read_text())["command"][-1] == "***"

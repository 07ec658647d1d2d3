"""SIGKILL at random moments of a fine-tuning whose frozen weights are copied by the store, not sent again."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path

import pytest

from fakes.finals import final_state
from holdfast.core.errors import Exit
from holdfast.drill.compare_runs import differences
from holdfast.spool import PART, Board, check_file
from holdfast.store import Store, StoreSettings, open_store
from holdfast.store.catalog import list_pairs, read_manifest

from .daemons import SCRIPTS, Machines, machines, wait_for

pytestmark = pytest.mark.whole
RUN = "00001-count"
COMMAND = [sys.executable, str(SCRIPTS / "frozen_backbone.py")]
KILLS = 2


def test_kills_at_random_moments_of_a_training_whose_parts_are_copied_change_nothing(
    tmp_path: Path, s3_server: str, bucket: str
) -> None:
    """In turn of the machine, whose disk stays, and of the command alone."""
    environment, chance = {"HOLDFAST_ENDPOINT_URL": s3_server, "PACE": "0.5"}, random.Random(7)
    with (
        machines(f"s3://{bucket}/a", tmp_path / "a", environment) as park,
        machines(f"s3://{bucket}/b", tmp_path / "b", environment) as undisturbed,
    ):
        daemon = park.start("one", command=COMMAND)
        for number in range(KILLS):
            until_copied(park, len(copies(park)) + 1)
            park.until_step("one", step(park) + chance.randrange(3), daemon)
            if number % 2:
                daemon.child().send_signal(signal.SIGKILL)
            else:
                daemon.process.send_signal(signal.SIGKILL)
                daemon.wait()
                daemon = park.start("one", command=COMMAND)
        until_copied(park, len(copies(park)) + 1)
        assert daemon.wait() == Exit.COMPLETE, daemon.text
        assert undisturbed.start("reference", command=COMMAND, PACE="0").wait() == Exit.COMPLETE
        stores = [open_store(one.store, StoreSettings(endpoint_url=s3_server)) for one in (park, undisturbed)]
        assert not differences(*(final_state(store, RUN) for store in stores))
        check_all(stores[0], tmp_path / "back")
    assert "no-copies" not in park.kinds("one")
    assert min(copies(park)) >= 2 * PART, "all but the part that the head and the file's own structure are in"


def copies(park: Machines) -> list[int]:
    """Bytes that the store copied, for each stored checkpoint of which it copied some."""
    return [event["copied"] for event in park.events("one") if event["event"] == "stored" and event["copied"]]


def until_copied(park: Machines, count: int) -> None:
    wait_for(lambda: len(copies(park)) >= count, f"copy number {count}", patience=120.0)


def step(park: Machines) -> int:
    return Board.read(park.work_dir("one") / RUN / Board.FILE).step


def check_all(store: Store, back: Path) -> None:
    names = list_pairs(store, RUN)
    assert names
    for name in names:
        for part, record in read_manifest(store, RUN, name).files.items():
            store.fetch(f"{RUN}/{name.file(part)}", back)
            check_file(back, record)

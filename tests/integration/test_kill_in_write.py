"""SIGKILL while a checkpoint is being written in the background: the training ends as if nothing had been."""

from __future__ import annotations

import random
import signal
import sys
from pathlib import Path

import psutil
import pytest

from fakes.finals import final_state
from holdfast.core.errors import Exit
from holdfast.drill.compare_runs import FitState, differences
from holdfast.spool import TEMPORARY
from holdfast.store import StoreSettings, open_store

from .daemons import SCRIPTS, Daemon, Machines, machines, wait_for

pytestmark = pytest.mark.whole
RUN = "00001-count"
COMMAND = [sys.executable, str(SCRIPTS / "keras_fit.py")]
# 12 MB of state, saved after each batch: there is always a write under way.
TRAINING = {"UNITS": "50000", "EVERY": "1", "EPOCHS": "3", "PACE": "0.05"}
KILLS = 2


def test_kills_at_random_moments_of_background_writes_change_nothing(
    tmp_path: Path, s3_server: str, bucket: str
) -> None:
    environment = {"HOLDFAST_ENDPOINT_URL": s3_server}
    chance = random.Random(5)
    with (
        machines(f"s3://{bucket}/a", tmp_path / "a", environment) as park,
        machines(f"s3://{bucket}/b", tmp_path / "b", environment) as undisturbed,
    ):
        for number in range(KILLS):
            daemon = park.start("one", command=COMMAND, **TRAINING)
            park.until_step("one", 4 + 5 * number, daemon)
            hold_in_write(park, daemon, chance.randrange(6_000_000))
            daemon.process.send_signal(signal.SIGKILL)
            daemon.wait()
            assert left_behind(park)
        last = park.start("one", command=COMMAND, **TRAINING)
        assert last.wait() == Exit.COMPLETE, last.text
        assert "resuming from" in last.text
        assert undisturbed.start("reference", command=COMMAND, **TRAINING).wait() == Exit.COMPLETE
        assert not differences(final(park, s3_server), final(undisturbed, s3_server))


def left_behind(park: Machines) -> list[Path]:
    return list((park.work_dir("one") / RUN).glob(f"{TEMPORARY}*"))


def hold_in_write(park: Machines, daemon: Daemon, size: int) -> None:
    """A write may be over before anything can be done about it: then it is the next one's turn."""
    training = daemon.child()
    while True:
        until_written(park, daemon, size)
        training.suspend()
        wait_for(lambda: training.status() == psutil.STATUS_STOPPED, "the training to stand still")
        if left_behind(park):
            return
        training.resume()


def until_written(park: Machines, daemon: Daemon, size: int) -> None:
    def under_way() -> bool:
        try:
            return any(path.stat().st_size > size for path in left_behind(park) if path.name.endswith(".h5"))
        except FileNotFoundError:
            return False

    wait_for(under_way, f"a write; console:\n{daemon.text}", alive=daemon.process)


def final(park: Machines, server: str) -> FitState:
    return final_state(open_store(park.store, StoreSettings(endpoint_url=server)), RUN)

"""Is the last state in the store? No exit code says so where it is not."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from auto.interpreters import fake_keras
from fakes.proxy import FaultProxy
from holdfast.core.errors import Exit
from holdfast.drill.fake_imds import MetadataService
from holdfast.store import StoreSettings, open_store
from holdfast.store.catalog import list_pairs

from .conftest import answered_by
from .daemons import SCRIPTS, Machines, machines

RUN = "00001-count"
LEAVES = """
import os, sys
import numpy as np
import holdfast

with holdfast.session(every=10) as run:
    weights = run.resume_from.arrays["weights"] if run.resume_from else np.zeros(10)
    for step in range(run.step, 60):
        weights = weights + 1
        if run.boundary(step + 1):
            run.commit({"weights": weights})
        if step == 36:
            LEAVE(0)
"""


@pytest.fixture
def unstored(local_park: Machines) -> Path:
    """Machine ``one`` has a state that is there alone; the store, which was away, is in the folder that is returned."""
    first = local_park.start("one", "--drain-time", "2", HOLD_AT="33", EVERY="1000")
    local_park.until_step("one", 33, first)
    store = Path(local_park.store)
    away = store.rename(store.with_name("away"))
    store.write_text("not a directory")
    assert first.terminate() == Exit.UNSTORED
    return away


def back(local_park: Machines, away: Path) -> None:
    Path(local_park.store).unlink()
    away.rename(local_park.store)


def steps(park: Machines) -> list[int]:
    return [name.step for name in list_pairs(open_store(park.store, StoreSettings()), RUN)]


def test_what_was_left_here_is_stored_while_a_notice_stands(
    local_park: Machines, unstored: Path, metadata: MetadataService
) -> None:
    back(local_park, unstored)
    metadata.interrupt()
    again = local_park.start("one", HOLD_AT="40", **answered_by(metadata))
    assert again.wait() == Exit.STOPPED, again.text
    assert steps(local_park) == [33]
    assert "started" not in local_park.kinds("one")[-8:]
    waiting = local_park.start("one", HOLD_AT="40", **answered_by(metadata))
    waiting.until("nothing is started while the notice stands")
    assert waiting.terminate() == Exit.STOPPED


def test_a_start_that_cannot_use_its_store_is_74_where_a_state_waits_for_it(
    local_park: Machines, unstored: Path
) -> None:
    again = local_park.start("one", HOLD_AT="40")
    assert again.wait() == Exit.UNSTORED, again.text
    assert "this machine is kept: the last checkpoint" in again.text
    back(local_park, unstored)


def test_a_stop_while_a_store_is_waited_for_is_74_where_a_state_waits_too(
    s3_server: str, bucket: str, tmp_path: Path
) -> None:
    with machines(f"s3://{bucket}/runs", tmp_path / "machines", {"HOLDFAST_ENDPOINT_URL": s3_server}) as park:
        closed = threading.Event()
        with FaultProxy(s3_server, lambda asked: "answer:503" if closed.is_set() else None) as proxy:
            park.environment["HOLDFAST_ENDPOINT_URL"] = proxy.endpoint
            first = park.start("one", "--drain-time", "3", HOLD_AT="33", EVERY="1000")
            park.until_step("one", 33, first)
            closed.set()
            assert first.terminate() == Exit.UNSTORED, first.text
            again = park.start("one", "--store-wait", "60", HOLD_AT="40")
            again.until("trying again")
            assert again.terminate() == Exit.UNSTORED, again.text


SWALLOWS = """
import os
import numpy as np
import holdfast

try:
    with holdfast.session() as run:
        if "SAVES" in os.environ:
            run.boundary(1)
            run.commit({"weights": np.zeros(10)})
        raise ConnectionError("the tracking server does not answer")
except Exception as error:
    print("never mind:", error)
"""


@pytest.mark.parametrize("saves", [True, pytest.param(False, marks=pytest.mark.whole)])
def test_a_training_whose_error_is_swallowed_is_not_complete(local_park: Machines, saves: bool, tmp_path: Path) -> None:
    script = tmp_path / "swallows.py"
    script.write_text(SWALLOWS)
    environment = {"SAVES": "1"} if saves else {}
    command = [sys.executable, str(script)]
    daemon = local_park.start("one", "--max-restarts", "1", command=command, **environment)
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "exit 0 in the middle of its training: the training never reported its end" in daemon.text
    assert not (Path(local_park.store) / RUN / "complete.json").exists()


@pytest.mark.whole
def test_a_training_that_fails_in_a_pipeline_is_not_complete(local_park: Machines, tmp_path: Path) -> None:
    line = f"{sys.executable} {SCRIPTS / 'count.py'} | cat"
    crash = {"CRASH_AT": "39", "CRASHED": str(tmp_path / "no" / "such" / "folder"), "EVERY": "13"}
    daemon = local_park.start("one", "--max-restarts", "1", command=["sh", "-c", line], **crash)
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "exit 0 in the middle of its training: the training never reported its end" in daemon.text
    assert not (Path(local_park.store) / RUN / "complete.json").exists()


@pytest.mark.parametrize("line", ["exec setsid {0}", "{0} &"])
def test_a_command_that_leaves_while_its_training_is_about_to_begin_is_not_complete(
    local_park: Machines, tmp_path: Path, line: str
) -> None:
    """``setsid`` forks, since the command leads a process group."""
    script = tmp_path / "slow_start.py"
    script.write_text("import time; time.sleep(60)")
    command = ["sh", "-c", line.format(f"{sys.executable} {script}")]
    daemon = local_park.start("one", command=command)
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "left 1 process running" in daemon.text
    assert not (Path(local_park.store) / RUN / "complete.json").exists()


FORGETS = """
import holdfast
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
TensorFlowTrainer().fit()
"""


def test_a_fit_without_resume_is_reported_in_its_first_epoch_and_is_not_complete(
    local_park: Machines, tmp_path: Path
) -> None:
    fake_keras(tmp_path, waits_for=tmp_path / "enough")
    script = tmp_path / "forgets.py"
    script.write_text(FORGETS)
    daemon = local_park.start("one", command=[sys.executable, str(script)])
    daemon.until("trains a Keras model without a holdfast session: nothing of it is saved")
    (tmp_path / "enough").touch()
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "the command trained without ever saving, so the run is not complete" in daemon.text
    assert not (Path(local_park.store) / RUN / "complete.json").exists()


def test_a_short_fit_without_resume_is_reported_as_its_process_ends(local_park: Machines, tmp_path: Path) -> None:
    fake_keras(tmp_path)
    script = tmp_path / "forgets.py"
    script.write_text(FORGETS)
    daemon = local_park.start("one", command=[sys.executable, str(script)])
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "trains a Keras model without a holdfast session: nothing of it is saved" in daemon.text


SLOW_TO_BEGIN = """
import holdfast
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
Resume = type("Resume", (), {"__module__": "holdfast.training.keras.resume"})  # Keras itself is not here
TensorFlowTrainer().fit(None, callbacks=[Resume()])
"""


def test_a_fit_with_resume_that_takes_its_time_to_begin_is_not_reported(local_park: Machines, tmp_path: Path) -> None:
    """Keras draws a first batch, and a device starts, before it makes the list of callbacks."""
    fake_keras(tmp_path, waits_for=tmp_path / "enough")
    script = tmp_path / "slow.py"
    script.write_text(SLOW_TO_BEGIN)
    daemon = local_park.start("one", command=[sys.executable, str(script)])
    seen = threading.Event()
    seen.wait(3.0)
    assert "nothing of it is saved" not in daemon.text
    (tmp_path / "enough").touch()
    daemon.wait()


LATER_FORGETS = """
import holdfast
from holdfast.training.session.base import FIT
from holdfast.training.session.open import open_session
from keras.src.backend.tensorflow.trainer import TensorFlowTrainer
session = open_session()
session.claim(FIT)
TensorFlowTrainer().fit()
"""


def test_a_later_fit_that_lacks_resume_is_named_once_it_takes_its_time(local_park: Machines, tmp_path: Path) -> None:
    fake_keras(tmp_path, waits_for=tmp_path / "enough")
    script = tmp_path / "forgets.py"
    script.write_text(LATER_FORGETS)
    daemon = local_park.start("one", command=[sys.executable, str(script)])
    daemon.until("this fit has no holdfast.Resume() in its callbacks, as another of this script has")
    (tmp_path / "enough").touch()
    daemon.wait()


@pytest.mark.parametrize("how", ["sys.exit", "os._exit"])
def test_a_training_that_leaves_in_the_middle_with_0_is_not_complete(
    local_park: Machines, tmp_path: Path, how: str
) -> None:
    script = tmp_path / "leaves.py"
    script.write_text(LEAVES.replace("LEAVE", how))
    daemon = local_park.start("one", "--max-restarts", "1", command=[sys.executable, str(script)])
    assert daemon.wait() == Exit.FAILED, daemon.text
    assert "exit 0 in the middle of its training" in daemon.text
    assert not (Path(local_park.store) / RUN / "complete.json").exists()

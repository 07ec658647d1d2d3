"""A user's Keras script under ``holdfast run``: real processes, real S3 requests."""

from __future__ import annotations

import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from fakes.finals import final_state
from holdfast.core.errors import Exit
from holdfast.drill.compare_runs import FitState, differences
from holdfast.store import StoreSettings, open_store

from .daemons import SCRIPTS, Machines, machines

COMMAND = [sys.executable, str(SCRIPTS / "keras_fit.py")]
RUN = "00001-count"


@pytest.mark.whole
def test_a_users_script_outlives_its_machine_and_a_changed_model_is_refused(
    tmp_path: Path, s3_server: str, bucket: str
) -> None:
    environment = {"HOLDFAST_ENDPOINT_URL": s3_server}
    complete_hook = tmp_path / "go"
    with (
        machines(f"s3://{bucket}/a", tmp_path / "a", environment) as park,
        machines(f"s3://{bucket}/b", tmp_path / "b", environment) as undisturbed,
    ):
        first = park.start("one", command=COMMAND, HOLD_AT="3", LET_GO=str(complete_hook))
        first.until("holding")
        first.process.send_signal(signal.SIGTERM)
        first.until("draining")
        complete_hook.touch()
        assert first.wait() == Exit.STOPPED
        assert "evaluated" not in first.text, "the script's tail does not run on a half-trained model"
        shutil.rmtree(park.work_dir("one"))

        changed = park.start("changed", command=COMMAND, UNITS="17")
        assert changed.wait() == Exit.FAILED
        assert "is (12, 16) in the checkpoint and (12, 17) in the model" in changed.text

        second = park.start("two", command=COMMAND)
        assert second.wait() == Exit.COMPLETE
        # A busy machine may let some batches by before the news of the stop has come to the script.
        assert re.search(r"resuming from epoch 1, batch ([4-9]) \(step 1\1\)", second.text)
        assert "Epoch 1/3" not in second.text
        assert undisturbed.start("reference", command=COMMAND).wait() == Exit.COMPLETE
        assert not differences(_final(park, s3_server), _final(undisturbed, s3_server))


def _final(park: Machines, server: str) -> FitState:
    return final_state(open_store(park.store, StoreSettings(endpoint_url=server)), RUN)

"""``holdfast run --auto`` for a notebook that is executed: the training is in its kernel, two processes below."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.core.errors import Exit

from .daemons import Machines
from .unmodified import SCRIPTS

EXECUTE = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "train.ipynb", "--output", "done.ipynb"]


@pytest.mark.real
def test_an_executed_notebook_survives_an_interruption(tmp_path: Path, local_park: Machines) -> None:
    subprocess.run([sys.executable, str(SCRIPTS / "write_notebook.py")], cwd=tmp_path, check=True)
    daemon = local_park.start("one", "--auto", "--every", "3", command=EXECUTE, folder=tmp_path, PACE="0.1")
    daemon.until("(interval,")
    assert daemon.terminate() == Exit.STOPPED, daemon.text
    last = local_park.start("two", "--auto", command=EXECUTE, folder=tmp_path)
    assert last.wait() == 0, last.text
    ended = [e for name in ("one", "two") for e in local_park.events(name) if e["event"] == "exited"]
    assert sum(event["executed"] for event in ended) == 3 * 12, "each batch once"
    cells = json.loads((tmp_path / "done.ipynb").read_text())["cells"]
    assert cells[-1]["outputs"][0]["text"][0].startswith("loss ")

"""``holdfast demo``, as a person starts it."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from .daemons import Daemon


@pytest.mark.whole
def test_the_demo_shows_identical_weights_exits_0_and_names_the_command_of_its_page(tmp_path: Path) -> None:
    daemon = Daemon(["demo"], {"XDG_CACHE_HOME": str(tmp_path)})
    code = daemon.process.wait(200)
    daemon.close()
    assert code == 0, daemon.text
    assert "identical, bit for bit" in daemon.text
    assert "epochs of handwritten digits" in daemon.text
    assert "Traceback" not in daemon.text
    command = shlex.split(daemon.text.strip().splitlines()[-1])
    page = tmp_path / "page.html"
    done = subprocess.run([*command[:-1], str(page)], capture_output=True, text=True, check=True)
    assert "is complete: 3 starts on 3 machines, 1 interruption, 0 batches lost, 0 done twice" in done.stdout
    assert "val_accuracy" in page.read_text()
    found = json.loads(subprocess.run([*command[:-2], "--json"], capture_output=True, check=True).stdout)
    assert found["progress"]["text"].startswith("epoch 6/6"), "Keras' epochs and batches are known"
    assert found["batches"] == {"executed": 540, "again": 0, "step": 540, "lost": 0, "at_least": []}

"""A training that the kernel kills, in a real memory cgroup."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.core.errors import Exit
from integration.daemons import QUICK, SCRIPTS
from real.cgroups import MemoryGroup, memory_group

pytestmark = pytest.mark.real

LIMIT = 256 << 20


EATING = (sys.executable, str(SCRIPTS / "eats_memory.py"))


def run(folder: Path, group: MemoryGroup, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "holdfast", "run", "--store", str(folder / "store"), "--run", "eats"]
    words += ["--work-dir", str(folder / "work"), *QUICK, "--", *command]
    settings = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true", **environment}
    return subprocess.run(group.command(*words), env=settings, capture_output=True, text=True, timeout=120, check=False)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (folder / "work/00001-eats/events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_a_training_that_runs_out_of_memory_is_told_so_and_goes_on_from_its_newest_pair(tmp_path: Path) -> None:
    with memory_group(LIMIT) as group:
        done = run(tmp_path, group, *EATING, EAT_AT="25", MOST=str(2 * LIMIT), EATEN=str(tmp_path / "eaten"))
        assert done.returncode == Exit.COMPLETE, done.stdout + done.stderr
        assert group.kills() == 1, "the kernel's own count"
    killed, ended = events(tmp_path, "exited")
    assert (killed["code"], killed["how"]) == (137, "killed by SIGKILL: out of memory")
    assert (ended["code"], ended["how"]) == (0, "exit 0")
    assert "the command failed (killed by SIGKILL: out of memory)" in events(tmp_path, "crashed")[0]["text"]
    assert "from step 20" in done.stdout


def test_one_that_is_killed_by_hand_in_such_a_group_has_not_run_out_of_memory(tmp_path: Path) -> None:
    with memory_group(LIMIT) as group:
        assert run(tmp_path, group, "/bin/sh", "-c", "kill -9 $$").returncode == Exit.FAILED
        assert group.kills() == 0
    assert events(tmp_path, "exited")[0]["how"] == "killed by SIGKILL"

"""What only a process of its own can show: replicas, and a stop while the main thread is deep in a trace."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.core.errors import Exit
from holdfast.spool import Spool

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / script), *arguments], capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.whole
def test_every_replicas_own_state_is_kept(tmp_path: Path) -> None:
    undisturbed = run("mirrored.py", str(tmp_path / "a"), str(tmp_path / "a.txt"))
    assert undisturbed.returncode == 0, undisturbed.stderr
    stopped = run("mirrored.py", str(tmp_path / "b"), str(tmp_path / "b.txt"), "1,1")
    assert stopped.returncode == Exit.STOPPED, stopped.stderr
    resumed = run("mirrored.py", str(tmp_path / "b"), str(tmp_path / "b.txt"))
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "b.txt").read_text() == (tmp_path / "a.txt").read_text()


@pytest.mark.whole
@pytest.mark.parametrize(("where", "batch"), [("train", 0), ("test", 4)])
def test_a_stop_during_a_long_trace_is_served_from_the_last_boundary(tmp_path: Path, where: str, batch: int) -> None:
    directory = tmp_path / "runs"
    training = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "slow_trace.py"), str(directory), where],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert training.stdout is not None
    with training.stdout:
        assert any("tracing" in line for line in training.stdout)
        training.send_signal(signal.SIGTERM)
        assert training.wait(20) == Exit.STOPPED
    pairs = Spool(next(directory.glob("0000*"))).pairs()
    assert [(name.epoch, name.step) for name in pairs] == ([] if where == "train" else [(0, batch)])
    (tmp_path / "runs.go").touch()
    resumed = run("slow_trace.py", str(directory), where)
    undisturbed = run("slow_trace.py", str(tmp_path / "runs2"), "neither")
    assert resumed.stdout.splitlines()[-1] == undisturbed.stdout.splitlines()[-1]


@pytest.mark.parametrize("how", ["raises", "is killed"])
def test_a_script_that_died_after_its_training_does_that_part_again_and_no_batch(tmp_path: Path, how: str) -> None:
    batches = [f"batch {step}" for step in range(3)]
    died = run("tail.py", str(tmp_path), how)
    assert (died.returncode == 0, died.stdout.splitlines()) == (False, [*batches, "tail"])
    assert run("tail.py", str(tmp_path), "ends").stdout.splitlines() == ["tail"]
    assert run("tail.py", str(tmp_path), "ends").stdout.splitlines() == [*batches, "tail"], "that is the next run"
    assert len(list(tmp_path.glob("0000*"))) == 2

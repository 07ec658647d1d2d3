"""The checker of benchmarks/faults.py, in short: on holdfast, and on a supervisor that loses commits."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole
ROOT = Path(__file__).parents[2]
MUTANT = Path(__file__).with_name("mutant.py")


def benchmark(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(ROOT / "benchmarks" / "faults.py"), "--quick", "--folder", str(folder), *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=220, check=False)


def figure(output: str, what: str) -> int:
    match = re.search(rf"^\| \**{what}\** \| \**(\d+)\** \|$", output, re.MULTILINE)
    assert match is not None, output
    return int(match[1])


def test_no_commit_is_lost_whatever_happens_between_the_daemon_and_the_store(tmp_path: Path) -> None:
    done = benchmark(tmp_path, "--faults", "60", "--patience", "180")
    assert done.returncode == 0, done.stdout + done.stderr
    assert figure(done.stdout, "lost commits") == 0
    assert figure(done.stdout, "pairs called stored") >= 10
    assert figure(done.stdout, "daemons killed") >= 1
    assert "hit no request of the commit protocol: 0." in done.stdout
    hits = re.search(r"^\| \*\*all\*\* .* (\d+) \|$", done.stdout, re.MULTILINE)
    assert hits is not None
    assert int(hits[1]) >= 60


def test_a_supervisor_that_ignores_a_failed_put_is_caught(tmp_path: Path) -> None:
    daemon = shlex.join([sys.executable, str(MUTANT)])
    done = benchmark(tmp_path, "--faults", "50", "--patience", "120", "--daemon", daemon)
    assert done.returncode == 1, done.stdout + done.stderr
    assert figure(done.stdout, "lost commits") > 0

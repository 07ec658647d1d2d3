"""A stop that comes before the daemon listens: PID 1 has no default actions, so the kernel would drop it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from holdfast.core.errors import Exit


def test_a_signal_that_was_held_back_since_before_the_start_stops_the_run(tmp_path: Path) -> None:
    store = tmp_path / "store"
    words = ["run", "--store", str(store), "--run", "early", "--work-dir", str(tmp_path / "work")]
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", *words, "--", "sleep", "1000"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
    )
    process.terminate()
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == Exit.STOPPED
    assert "SIGTERM" in said

"""The command's own beginning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from holdfast.core.errors import Exit

INTERRUPTED = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"


def test_ctrl_c_while_the_command_is_still_loading_is_one_line(tmp_path: Path) -> None:
    """As soon as it imports its first library."""
    (tmp_path / "click.py").write_text(INTERRUPTED)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "holdfast", "ls"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (Exit.STOPPED, "", "holdfast: error: interrupted\n")

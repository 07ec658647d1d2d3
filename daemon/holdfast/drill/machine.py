"""A pretended machine: ``holdfast run`` as a real process with a work dir that vanishes with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import HoldfastError
from ..spool import Board, Progress

_LOOK = 0.01


class DrillMachine:
    """One start of ``holdfast run``. Its output goes line by line to ``show``."""

    def __init__(
        self,
        name: str,
        work_dir: Path,
        store: str,
        arguments: Sequence[str],
        command: Sequence[str],
        environment: Mapping[str, str],
        show: Callable[[str], None],
    ) -> None:
        self.name = name
        self.work_dir = work_dir
        self._show = show
        # Nothing of this machine's own settings takes part in a rehearsal.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HOLDFAST_")}
        run = [sys.executable, "-m", "holdfast", "run", "--config", os.devnull]
        argv = [*run, "--store", store, "--work-dir", str(work_dir), *arguments]
        self._process = subprocess.Popen(
            [*argv, "--", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env={**inherited, "PYTHONUNBUFFERED": "1", **environment},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def progress(self) -> Progress:
        boards = sorted(self.work_dir.glob(f"*/{Board.FILE}"))
        return Board.read(boards[-1]) if boards else Progress()

    def wait_until(self, reached: Callable[[Progress], bool], timeout: float) -> bool:
        """False if the process ended, or the time, before ``reached`` was true."""
        until = time.monotonic() + timeout
        while not reached(self.progress()):
            if self._process.poll() is not None or time.monotonic() > until:
                return reached(self.progress())
            time.sleep(_LOOK)
        return True

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            raise HoldfastError(f"{self.name}: not at its end after {timeout:.0f} s") from None
        self._reader.join(5)
        return code

    def resumed_at(self) -> int:
        """The step at which this machine's training really began: what its board says now, less what it executed."""
        progress = self.progress()
        return progress.step - progress.executed

    def events(self) -> list[dict[str, Any]]:
        found = []
        for path in sorted(self.work_dir.glob("*/events.jsonl")):
            found += [json.loads(line) for line in path.read_text().splitlines()]
        return found

    def vanish(self) -> Progress:
        """The machine is gone, and its disk with it. Returns where its training had got to."""
        last = self.progress()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.work_dir, ignore_errors=True)
        return last

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._show(line.rstrip("\n"))

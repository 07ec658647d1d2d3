"""A pretended machine: ``holdfast run`` as a real process with a work dir that vanishes with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from ..core.errors import HoldfastError
from ..spool import Board, Progress
from . import die_with_parent
from .folder_copy import remove

_LOOK, _WAIT = 0.01, 0.05
_LEAVE = 15.0  # the guardian below the supervisor ends what is left within 11 s
_LONG = 70  # a socket's path has 107 characters at most, and multiprocessing adds some 30


class DrillMachine:
    """One start of ``holdfast run``. Its output goes line by line to ``show``.

    ``disk`` is a new folder for all that the machine has of its own: its work dir, its temporary files. ``folder`` is
    where the command runs, the present one if None. ``check`` is called while this waits; what it raises comes out. The
    machine vanishes when its block ends, however that ends.
    """

    def __init__(
        self,
        name: str,
        disk: Path,
        store: str,
        arguments: Sequence[str],
        command: Sequence[str],
        environment: Mapping[str, str],
        show: Callable[[str], None],
        check: Callable[[], None],
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.disk = disk
        self.folder = folder
        self.work_dir = disk / "work"
        self._show = show
        self._check = check
        self._below: list[psutil.Process] = []
        # Nothing of this machine's own settings takes part in a rehearsal.
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("HOLDFAST_")}
        first = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
        run = [sys.executable, "-P", "-m", "holdfast", "run", "--config", os.devnull]
        argv = [*first, *run, "--store", store, "--work-dir", str(self.work_dir), *arguments]
        self._process = subprocess.Popen(
            [*argv, "--", *command],
            cwd=folder,
            process_group=0,  # Ctrl-C is for the rehearsal, which ends its machines by itself
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env={**inherited, "PYTHONUNBUFFERED": "1", **self._temporary(), **environment},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> DrillMachine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.vanish()

    def progress(self) -> Progress:
        boards = sorted(self.work_dir.glob(f"*/{Board.FILE}"))
        return Board.read(boards[-1]) if boards else Progress()

    def wait_until(self, reached: Callable[[Progress], bool], timeout: float) -> bool:
        """False if the process ended, or the time, before ``reached`` was true."""
        return self._wait_for(lambda: reached(self.progress()), timeout)

    def wait_until_ended_again(self, commands: int, timeout: float) -> bool:
        """Until more than so many ``commands`` have ended here, or the process itself has."""
        return self._wait_for(lambda: self.commands_ended() > commands, timeout)

    def _wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        until = time.monotonic() + timeout
        while not condition():
            self._check()
            if self._process.poll() is not None or time.monotonic() > until:
                return condition()
            time.sleep(_LOOK)
        return True

    def ended(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def commands_ended(self) -> int:
        """How often the command has ended here: the last time its board stands still."""
        return sum(event["event"] == "exited" for event in self.events())

    def send(self, number: signal.Signals) -> None:
        if number == signal.SIGKILL:
            self._kill()
        else:
            self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        """The exit code. Raises HoldfastError when the time is over."""
        until = time.monotonic() + timeout
        while (code := self._process.poll()) is None:
            self._check()
            if time.monotonic() > until:
                raise HoldfastError(f"{self.name}: not at its end after {timeout:.0f} s")
            time.sleep(_WAIT)
        self._reader.join(5)
        return code

    def events(self) -> list[dict[str, Any]]:
        found = []
        for path in sorted(self.work_dir.glob("*/events.jsonl")):
            found += [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return found

    def vanish(self) -> Progress:
        """The machine is gone, and its disk with it. Returns where its training had got to."""
        last = self.progress()
        self._kill()
        psutil.wait_procs(self._below, _LEAVE)
        remove(self.disk)
        return last

    def _temporary(self) -> dict[str, str]:
        folder = self.disk / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        return {"TMPDIR": str(folder)} if len(str(folder)) <= _LONG else {}

    def _kill(self) -> None:
        """The supervisor alone: its guardian ends the training, and ``vanish`` waits for that."""
        if self._process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._below += psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(OSError, ValueError, SystemExit):  # `drill | head`: the training must not block
                self._show(line.rstrip("\n"))

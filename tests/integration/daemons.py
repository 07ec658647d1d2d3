"""Real ``holdfast run`` processes for the tests, each with an environment that reaches loopback only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

SCRIPTS = Path(__file__).parent.parent / "scripts"
PATIENCE = 60.0
QUICK = ("--lease-heartbeat", "0.2", "--lease-expiry", "1", "--poll-interval", "0.05", "--store-wait", "2")


class Daemon:
    """One start of ``holdfast run``. ``lines`` is what its console shows."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], folder: Path | None = None) -> None:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HOLDFAST_")}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "holdfast", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env={**clean, "AWS_EC2_METADATA_DISABLED": "true", **environment},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def signal_again_until(self, number: int, text: str) -> None:
        """Signals soon after another are the same, so it is sent until one counts."""
        send = self.process.send_signal
        wait_for(lambda: (send(number), text in self.text)[1], f"{text!r} in:\n{self.text}")

    def until(self, text: str) -> None:
        wait_for(lambda: text in self.text, f"{text!r} in:\n{self.text}", alive=self.process)

    def child(self) -> psutil.Process:
        """The training process: below the supervisor is its guardian, and below that the command."""
        (guardian,) = psutil.Process(self.pid).children()
        return guardian.children()[0]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


class Machines:
    """Starts daemons that share a store; each machine has a work dir of its own."""

    def __init__(self, store: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.store = store
        self.folder = folder
        self.environment = dict(environment)
        self._daemons: list[Daemon] = []

    def start(
        self,
        machine: str,
        *arguments: str,
        command: list[str] | None = None,
        folder: Path | None = None,
        **environment: str,
    ) -> Daemon:
        words = ["run", "--store", self.store, "--run", "count", "--work-dir", str(self.work_dir(machine))]
        command = command or [sys.executable, str(SCRIPTS / "count.py")]
        daemon = Daemon([*words, *QUICK, *arguments, "--", *command], {**self.environment, **environment}, folder)
        self._daemons.append(daemon)
        return daemon

    def work_dir(self, machine: str) -> Path:
        return self.folder / machine

    def events(self, machine: str, run: str = "00001-count") -> list[dict[str, Any]]:
        path = self.work_dir(machine) / run / "events.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def kinds(self, machine: str) -> list[str]:
        return [event["event"] for event in self.events(machine)]

    def until_step(self, machine: str, step: int, daemon: Daemon) -> None:
        from holdfast.spool import Board

        path = self.work_dir(machine) / "00001-count" / Board.FILE
        wait_for(lambda: Board.read(path).step >= step, f"step {step}; console:\n{daemon.text}", alive=daemon.process)

    def close(self) -> None:
        for daemon in self._daemons:
            daemon.close()


@contextmanager
def machines(store: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Machines]:
    found = Machines(store, folder, environment)
    try:
        yield found
    finally:
        found.close()


def wait_for(
    condition: Callable[[], bool], what: str, alive: subprocess.Popen[str] | None = None, patience: float = PATIENCE
) -> None:
    """Polls a condition of another process, which cannot tell us by itself."""
    until = time.monotonic() + patience
    while not condition():
        ended = alive is not None and alive.poll() is not None
        assert not ended or condition(), f"the process ended before {what}"
        assert time.monotonic() < until, f"not within {patience} s: {what}"
        time.sleep(0.01)

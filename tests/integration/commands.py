"""Real ``python -m holdfast`` processes of the commands that look into a store."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.stored import Run
from holdfast.core.runs import RunId
from holdfast.store import Store, StoreSettings, open_store

from .forks import Forks

PATIENCE = 60.0


@dataclass
class Cli:
    """Runs commands against one store."""

    uri: str
    scratch: Path
    forks: Forks
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return open_store(self.uri, StoreSettings(endpoint_url=self.environment.get("HOLDFAST_ENDPOINT_URL")))

    def run(self, name: str = "digits", number: int = 1) -> Run:
        """A new run in the store, for the test to fill."""
        return Run(self.store, self.scratch, RunId(number, name))

    def call(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.forks.call(words, self.variables(**environment))

    def good(self, *words: str, **environment: str) -> str:
        """The standard output of a command that ends with 0."""
        done = self.call(*words, **environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words: str, code: int = 0) -> Any:
        done = self.call(*words, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def refused(self, *words: str, code: int = 78) -> str:
        """The one line of a command that ends with ``code``."""
        done = self.call(*words)
        complaints = [line for line in done.stderr.splitlines() if line.startswith("holdfast: error: ")]
        assert (done.returncode, len(complaints)) == (code, 1), done.stderr
        assert "Traceback" not in done.stderr
        return complaints[0]

    def on_terminal(self, *words: str, columns: int, typed: str = "", code: int = 0, **environment: str) -> str:
        """What a terminal of that width is sent, standard output and error together, and what is ``typed`` there."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        process = subprocess.Popen(
            self.words(*words),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=self.variables(TERM="xterm-256color", **environment),
            close_fds=True,
        )
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                shown += chunk
        except OSError:  # the terminal's end, on Linux
            pass
        finally:
            os.close(ours)
        assert process.wait(PATIENCE) == code
        return shown.decode().replace("\r\n", "\n")

    def words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "holdfast", *words]

    def variables(self, **environment: str) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
        return {**clean, "HOLDFAST_STORE": self.uri, **self.environment, **environment}

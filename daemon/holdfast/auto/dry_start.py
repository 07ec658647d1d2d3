"""Starts a command up to its first ``fit``, for ``holdfast doctor -- COMMAND``, and gives what each one reports."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.wire import SOCKET_VARIABLE
from .environment import KERAS_SEEN, LOOK_VARIABLE, PYTHON_SEEN, with_hook

_LAST_LINES = 20


@dataclass(frozen=True)
class FitSeen:
    """``findings`` are rows of what was looked at, a level, what was found, and what to do."""

    script: str
    findings: list[tuple[str, str, str, str]]


@dataclass(frozen=True)
class DryStart:
    """``fits``: the first of each process. ``python`` and ``keras``: an interpreter, and Keras, came under the hook.

    ``refused`` is why a process cannot be served, and ``last_lines`` the end of what the command printed.
    """

    code: int
    fits: list[FitSeen]
    python: bool
    keras: bool
    last_lines: list[str]


def start_dry(command: Sequence[str], environment: Mapping[str, str]) -> DryStart:
    """Runs the command here, as it is; nothing of a ``fit`` but its preparation. Raises OSError if it cannot start."""
    with tempfile.TemporaryDirectory(prefix="holdfast-") as name:
        folder = Path(name)
        report, output = folder / "report", folder / "output"
        variables = {SOCKET_VARIABLE: str(folder / "s"), LOOK_VARIABLE: str(report)}
        with output.open("wb") as file:
            code = subprocess.run(
                command,
                env=with_hook({**environment, **variables}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        lines = report.read_text().splitlines() if report.exists() else []
        return DryStart(
            code,
            [FitSeen(one["script"], [tuple(row) for row in one["findings"]]) for one in map(json.loads, lines)],
            (folder / PYTHON_SEEN).exists(),
            (folder / KERAS_SEEN).exists(),
            output.read_text(errors="replace").splitlines()[-_LAST_LINES:],
        )

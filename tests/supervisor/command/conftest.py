"""A command under a supervisor of its own, and the pids of what should not survive it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.command.supervised import Start, Supervised


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Supervised] = []

    def begin(*command: str, before: str = "") -> Supervised:
        started.append(Supervised(tmp_path, list(command), before))
        return started[-1]

    yield begin
    for supervised in started:
        supervised.close()


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    """Where a script writes the pids of what should not survive; whoever does is ended with the test."""
    path = tmp_path / "pids"
    path.touch()
    return path

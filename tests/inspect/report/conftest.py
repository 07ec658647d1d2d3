"""A run in a store, told by the journal; ``report`` is its document."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from fakes.stored import Run
from fakes.stores import MemoryStore
from fakes.told import Report, Told
from holdfast.inspect.report.cost import Prices
from holdfast.inspect.report.document import document
from holdfast.inspect.report.read import read


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(MemoryStore(), tmp_path / "spool")


@pytest.fixture
def told(run: Run, tmp_path: Path) -> Told:
    return Told(run, tmp_path)


@pytest.fixture
def report(run: Run) -> Report:
    """``silent`` are the seconds since the store was last written."""

    def make(silent: float = 0.0, prices: Prices = Prices()) -> dict[str, Any]:  # noqa: B008  # it is frozen
        return document(read(run.store, run.id), time.time() + silent, prices)

    return make

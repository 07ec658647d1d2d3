"""The run's folder of the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "00001-digits")

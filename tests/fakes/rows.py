"""Tables of a parametrized test of which `make test` runs the first rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def first_rows(number: int, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The others run in `make test-all`, where each is of the same kind and none is quick."""
    return [*rows[:number], *(pytest.param(*row, marks=pytest.mark.whole) for row in rows[number:])]

"""The tests that the documents' table of backends refers to are there; on_jax.py and on_torch.py look at their rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from .what_holds import BACKENDS, KEYS, shown_by

FOLDER = Path(__file__).parents[1]


@pytest.mark.parametrize("backend", [one for one in BACKENDS if one not in KEYS])
def test_what_a_backend_is_said_to_do_is_shown_by_a_file_of_tests(backend: str) -> None:
    assert [name for name in shown_by(backend) if not (FOLDER / name).exists()] == []

"""The tests that the documents' table of backends refers to are there; on_jax.py and on_torch.py look at their rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from .what_holds import BACKENDS, files, unshown

FOLDER = Path(__file__).parents[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_file_of_tests_that_the_table_cites_is_there(backend: str) -> None:
    assert [name for name in files(backend) if not (FOLDER / name).exists()] == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_whatever_the_table_says_yes_to_is_shown_by_a_test(backend: str) -> None:
    assert unshown(backend) == []

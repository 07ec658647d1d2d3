"""The conformance suite under a strategy with two replicas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "row",
    [
        ("tf.data, shuffled", "in an epoch"),
        pytest.param((), marks=[pytest.mark.whole, pytest.mark.timeout(600)], id="all others"),
    ],
)
def test_a_training_on_two_devices_ends_as_an_undisturbed_one(row: tuple[str, ...]) -> None:
    words = [sys.executable, "-m", "tests.training.data.on_two_devices", *row]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "comes in another order" not in done.stderr, "that it may do so is said where nothing could be compared"

"""Grain's datasets continue exactly under Keras' ``fit``. Grain itself comes with what ``make test-all`` installs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..conformance import SITUATIONS, check_identical

KINDS = (
    "MapDataset",
    "IterDataset",
    "DataLoader",
    "DataLoader of a nameless source",
    "IterDataset, an interleave that repeats",
)


@pytest.mark.whole
@pytest.mark.parametrize(
    "situation", ["in the second of two fits", "with steps_per_epoch", "with four steps in an execution"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_ends_as_an_undisturbed_one(
    tmp_path: Path, kind: str, situation: str, capfd: pytest.CaptureFixture[str]
) -> None:
    from . import kinds_of_grain

    check_identical(kinds_of_grain.KINDS[kind], SITUATIONS[situation], tmp_path)
    shown = capfd.readouterr().err
    assert "changes during the training" not in shown
    assert ("are drawn again" in shown) is ("nameless" in kind or "repeats" in kind)

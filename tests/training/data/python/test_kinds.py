"""What Python feeds goes through the conformance suite of all kinds of data."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ..conformance import SITUATIONS, Situation, check_complete, check_identical, random_stops
from .kinds import KINDS

ONLY_SEEDED = {"generator"}  # Keras has drawn from it before anybody can set the state that it draws from
# TensorFlow draws ahead of it, and Keras drops that at a validation's end, and at the end of a fit.
NAMED = {("generator", "in validation"), ("generator", "in the second of two fits")}
ROWS = [
    (kind, situation)
    for kind, known in KINDS.items()
    for situation in SITUATIONS
    if (kind, situation) not in NAMED and (known.without_end is not None or not SITUATIONS[situation].one_iterator)
]


@pytest.mark.whole
@pytest.mark.parametrize(("kind", "situation"), ROWS)
def test_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path: Path, kind: str, situation: str) -> None:
    check_identical(KINDS[kind], SITUATIONS[situation], tmp_path)


@pytest.mark.whole
@pytest.mark.parametrize("seed", [3, None])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ONLY_SEEDED])
def test_each_sample_is_trained_on_once_in_each_epoch(tmp_path: Path, kind: str, seed: int | None) -> None:
    print(f"{(chance := random.SystemRandom().randrange(10**6))=}")
    check_complete(KINDS[kind], Situation(random_stops(random.Random(chance))), tmp_path, seed)

"""Whatever feeds ``fit``, an interrupted training goes on with it as an undisturbed one does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from . import kinds_of_arrays
from .conformance import SITUATIONS, Situation, check_complete, check_identical, random_stops

KINDS = {**kinds_of_arrays.KINDS}
ONLY_SEEDED = {"arrays"}  # the order of an epoch is lost otherwise
SHORT = {"arrays": ("in an epoch",), "holdfast.dataset": ("in an epoch",)}  # the other rows are the whole matrix's


def rows() -> list[Any]:
    return [
        pytest.param(kind, situation, marks=() if situation in SHORT.get(kind, ()) else pytest.mark.whole)
        for kind, known in KINDS.items()
        for situation in SITUATIONS
        if known.without_end is not None or not SITUATIONS[situation].one_iterator
    ]


@pytest.mark.parametrize(("kind", "situation"), rows())
def test_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path: Path, kind: str, situation: str) -> None:
    check_identical(KINDS[kind], SITUATIONS[situation], tmp_path)


@pytest.mark.whole
@pytest.mark.parametrize("seed", [3, None])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ONLY_SEEDED])
def test_each_sample_is_trained_on_once_in_each_epoch(tmp_path: Path, kind: str, seed: int | None) -> None:
    print(f"{(chance := random.SystemRandom().randrange(10**6))=}")
    stops = random_stops(random.Random(chance))
    check_complete(KINDS[kind], Situation(stops), tmp_path, seed)

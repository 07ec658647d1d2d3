"""Whatever feeds ``fit``, an interrupted training goes on with it as an undisturbed one does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from . import kinds_of_arrays, kinds_of_tf_data
from .conformance import BATCHES, LAST, SITUATIONS, Kind, Situation, check_complete, check_identical, random_stops
from .python import kinds

KINDS = {**kinds_of_arrays.KINDS, **kinds_of_tf_data.KINDS, **kinds.KINDS}
SHORT = dict.fromkeys(("arrays", "holdfast.dataset", "tf.data, shuffled"), ("in an epoch",))
# Of the situations that a kind meets in another one as well, each kind is tried in every third: the tests must end.
IN_TURN = ("in an epoch", "in the second of two fits", "with four steps in an execution")
SHARED = ("arrays", "holdfast.dataset", "tf.data, shuffled", "PyDataset that augments", "PyDataset with threads")


def has_its_turn(kind: str, situation: str) -> bool:
    if situation not in IN_TURN or situation in SHORT.get(kind, ()):
        return True
    return (list(KINDS).index(kind) + IN_TURN.index(situation)) % 3 == 0


def rows() -> list[Any]:
    return [
        pytest.param(kind, situation, marks=() if situation in SHORT.get(kind, ()) else pytest.mark.whole)
        for kind, known in KINDS.items()
        for situation, how in SITUATIONS.items()
        if situation not in known.but
        and (known.without_end is not None or not how.one_iterator)
        and (kind in SHARED or not how.shared)
        and has_its_turn(kind, situation)
    ]


@pytest.mark.parametrize(("kind", "situation"), rows())
def test_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path: Path, kind: str, situation: str) -> None:
    check_identical(KINDS[kind], SITUATIONS[situation], tmp_path)


def test_a_shuffle_without_a_seed_that_is_at_its_end_before_the_epoch_is_gives_no_sample_twice(tmp_path: Path) -> None:
    """The files are all open, and their shuffle is over, some batches before the last."""
    for batch in (BATCHES - 3, BATCHES - 2):
        check_complete(KINDS["tf.data, interleaved"], Situation(((0, batch),)), tmp_path / str(batch), None)


@pytest.mark.parametrize("seed", [3, None])
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=() if one == "a layer" else pytest.mark.whole) for one in kinds_of_tf_data.DRAWING]
)
def test_a_pipeline_whose_functions_draw_gives_no_sample_twice(tmp_path: Path, name: str, seed: int | None) -> None:
    make = kinds_of_tf_data.DRAWING[name]
    check_complete(Kind(lambda: {"x": make()}), Situation(((0, LAST), (1, 3))), tmp_path, seed)


def seeds() -> list[tuple[str, int | None]]:
    """Each kind with a global seed or without one, in turn. What most scripts feed is tried without in any case."""
    in_turn = [(kind, (3, None)[number % 2]) for number, kind in enumerate(KINDS) if not KINDS[kind].only_seeded]
    return list(dict.fromkeys([("arrays", None), ("tf.data, shuffled", None), *in_turn]))


@pytest.mark.whole
@pytest.mark.parametrize(("kind", "seed"), seeds())
def test_each_sample_is_trained_on_once_in_each_epoch(tmp_path: Path, kind: str, seed: int | None) -> None:
    print(f"{(chance := random.SystemRandom().randrange(10**6))=}")
    stops = random_stops(random.Random(chance))
    check_complete(KINDS[kind], Situation(stops), tmp_path, seed)

"""Older pairs hold no state of the data: what is done is drawn again and dropped, as it was when they were written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from holdfast.training.data.batch_digests import UNKNOWN

from ..edited import edit_newest
from ..restarts import Script, assert_same, once
from .conformance import BATCHES, INPUTS, NUMBERS, SIZE
from .python import kinds

NEW = {"arrays", "digests", "generator", "iterable", "iterator", "iterator_state", "py_dataset", "validation"}
NEW |= {"validation_opened"}


def in_order() -> Iterator[Any]:
    while True:
        yield from (kinds.InOrder()[number] for number in range(BATCHES))


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "arrays": lambda: {"x": INPUTS, "y": NUMBERS, "shuffle": False, "batch_size": SIZE},
    "tf.data": lambda: {"x": tf.data.Dataset.from_tensor_slices((INPUTS, NUMBERS)).batch(SIZE)},
    "PyDataset": lambda: {"x": kinds.InOrder(), "shuffle": False},
    "generator": lambda: {"x": in_order(), "steps_per_epoch": BATCHES},
}


def train(make: Callable[[], dict[str, Any]]) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
        return model, model.fit(**make(), callbacks=callbacks, epochs=3, verbose=0)

    return run


def without_what_is_new(facts: dict[str, Any]) -> None:
    for key in NEW & set(facts):
        del facts[key]


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_without_a_state_of_the_data_continues_at_its_batch_and_a_line_says_what_is_not_known(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    script = train(KINDS[kind])
    undisturbed = once(script, tmp_path / "undisturbed")
    once(script, tmp_path / "stopped", (1, 3))
    edit_newest(tmp_path / "stopped", without_what_is_new)
    capfd.readouterr()
    assert_same(once(script, tmp_path / "stopped"), undisturbed)
    said = capfd.readouterr().err
    assert said.count(UNKNOWN) == 1
    assert "passed over" not in said

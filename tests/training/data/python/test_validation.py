"""Validation data that Python feeds continues exactly, or is named. The conformance suite has a row for each kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest

from ...restarts import VALIDATION, Script, assert_same, interrupted, once
from ..conformance import INPUTS, NUMBERS
from . import kinds

DROPPED = "validation_data is a Python generator"


def train(held_out: Any, **fit: Any) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
        settings = {"epochs": 3, "verbose": 0, "shuffle": False, "batch_size": 25, **fit}
        return model, model.fit(INPUTS, NUMBERS, validation_data=held_out(), callbacks=callbacks, **settings)

    return run


def test_one_that_shuffles_beside_arrays_continues_exactly(tmp_path: Path) -> None:
    script = train(kinds.Augments)
    stopped = interrupted(script, tmp_path / "stopped", (0, VALIDATION), (2, 0))
    assert_same(stopped, once(script, tmp_path / "undisturbed"))


@pytest.mark.whole
def test_a_generator_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    interrupted(train(kinds.shuffling_generator, validation_steps=3), tmp_path, (1, 0))
    assert capfd.readouterr().err.count(DROPPED) == 2

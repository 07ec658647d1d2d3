"""A Python generator goes on exactly, and where it cannot, that is said."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import holdfast

from ...restarts import Script, Stop, assert_same, interrupted, once

RNG = np.random.default_rng(1)
X, Y = RNG.random((50, 4), "float32"), RNG.random((50, 1), "float32")
STOPS: tuple[Stop, ...] = ((0, 0), (1, 4), (2, 2))
OTHER = "gives other batches than it gave before"


def draws_from_numpy() -> Iterator[Any]:
    while True:
        chosen = np.random.randint(0, 50, 8)
        yield X[chosen], Y[chosen]


def draws_from_python() -> Iterator[Any]:
    while True:
        chosen = [random.randrange(50) for _ in range(8)]
        yield X[chosen], Y[chosen]


def shuffles_each_pass() -> Iterator[Any]:
    while True:
        order = np.random.permutation(48)
        for chosen in order.reshape(6, 8):
            yield X[chosen], Y[chosen]


def has_its_own() -> Iterator[Any]:
    mine = np.random.default_rng(7)
    while True:
        chosen = mine.integers(0, 50, 8)
        yield X[chosen] + mine.normal(size=(8, 4)), Y[chosen]


def has_its_own_unseeded() -> Iterator[Any]:
    mine = np.random.default_rng()
    while True:
        chosen = mine.integers(0, 50, 8)
        yield X[chosen], Y[chosen]


def ends() -> Iterator[Any]:
    for _ in range(7):
        yield next(draws_from_numpy())


def train(generator: Callable[[], Iterator[Any]], **fit: Any) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        layers = [keras.layers.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dropout(0.3)]
        model = keras.Sequential([*layers, keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
        settings = {"steps_per_epoch": 6, "epochs": 3, "verbose": 0, **fit}
        return model, model.fit(generator(), callbacks=callbacks, **settings)

    return run


def check(script: Script, tmp_path: Path, *stops: Stop) -> None:
    undisturbed = once(script, tmp_path / "undisturbed")
    assert_same(interrupted(script, tmp_path / "stopped", *(stops or STOPS)), undisturbed)


WHOLE = [pytest.param(kind, marks=pytest.mark.whole) for kind in (draws_from_python, shuffles_each_pass, has_its_own)]


@pytest.mark.parametrize("kind", [draws_from_numpy, *WHOLE])
def test_a_generator_goes_on_exactly(tmp_path: Path, kind: Any, capfd: pytest.CaptureFixture[str]) -> None:
    check(train(kind), tmp_path)
    lines = capfd.readouterr().err.splitlines()
    assert not [line for line in lines if "batches" in line and "position in the data is saved as" not in line]


@pytest.mark.whole
def test_a_generator_that_ends_goes_on_exactly(tmp_path: Path) -> None:
    check(train(ends, steps_per_epoch=None, epochs=2), tmp_path, (0, 3), (0, 6))


def test_an_unseeded_generator_of_its_own_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    interrupted(train(has_its_own_unseeded), tmp_path, (1, 2))
    assert capfd.readouterr().err.count(OTHER) == 1


@pytest.mark.whole
def test_one_that_is_given_to_two_fits_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        same = draws_from_numpy()
        train(lambda: same)([holdfast.Resume(tmp_path)])
        return train(lambda: same)(callbacks)

    once(script, tmp_path)
    assert capfd.readouterr().err.count("was given to an earlier fit too") == 1

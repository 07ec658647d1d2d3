"""Data that repeats itself in another order each time, while an iterator that nobody uses any more reads on in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast
from holdfast.training.data.tf.pipeline import is_reordered_in_repeat

from ...restarts import once

X = np.random.default_rng(1).random((40, 4), "float32")
READS_ON = "an iterator over it that reads on meanwhile"


def samples() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((X, X[:, :1]))


def shuffled() -> tf.data.Dataset:
    return samples().shuffle(20, seed=1).batch(8).repeat()


def ours() -> Any:
    return holdfast.dataset(X, X[:, :1], batch_size=8, seed=1).repeat()


@pytest.mark.parametrize("make", [shuffled, ours, lambda: tf.data.Dataset.zip((shuffled(), samples())).repeat()])
def test_another_order_in_each_pass_below_a_repeat_is_found(make: Callable[[], Any]) -> None:
    assert is_reordered_in_repeat(make())


@pytest.mark.parametrize(
    "make",
    [
        lambda: samples().repeat().shuffle(20, seed=1),
        lambda: samples().shuffle(20, seed=1, reshuffle_each_iteration=False).repeat(),
        lambda: samples().batch(8).repeat(),
        lambda: samples().shuffle(20, seed=1).batch(8),
    ],
)
def test_one_order_for_all_passes_or_one_pass_is_not(make: Callable[[], Any]) -> None:
    assert not is_reordered_in_repeat(make())


def lines(tmp_path: Path, capsys: pytest.CaptureFixture[str], *fits: dict[str, Any]) -> list[str]:
    def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        for given in fits:
            history = model.fit(verbose=0, callbacks=[holdfast.Resume(tmp_path)], **given)
        return model, history

    once(script, tmp_path)
    return [line for line in capsys.readouterr().err.splitlines() if READS_ON in line]


@pytest.mark.parametrize("make", [shuffled, pytest.param(ours, marks=pytest.mark.whole)])
def test_data_that_an_earlier_fit_left_in_mid_way_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[], Any]
) -> None:
    tf.random.set_seed(3)
    data = make()
    [line] = lines(tmp_path, capsys, {"x": data, "steps_per_epoch": 5}, {"x": data, "steps_per_epoch": 5})
    assert line.endswith("make the data anew for each fit")


@pytest.mark.whole
def test_data_that_is_made_anew_or_comes_to_its_end_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = samples().shuffle(20, seed=1).batch(8)
    again = [{"x": shuffled(), "steps_per_epoch": 5}, {"x": shuffled(), "steps_per_epoch": 5}]
    assert lines(tmp_path, capsys, *again, {"x": whole, "epochs": 2}, {"x": whole}) == []


def test_validation_steps_of_such_data_and_data_that_is_both_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shuffled()
    first = {"x": samples().batch(8), "validation_data": shuffled(), "validation_steps": 2}
    both = {"x": data, "steps_per_epoch": 5, "validation_data": data, "validation_steps": 5}
    found = lines(tmp_path, capsys, first, both)
    assert sorted(line.rpartition(": ")[2] for line in found) == [
        "leave out repeat() and validation_steps, or use take()",
        "leave out repeat() and validation_steps, or use take()",
        "make a dataset for each",
    ]

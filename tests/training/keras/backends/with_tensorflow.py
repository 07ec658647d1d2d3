"""``tf.data`` on JAX and PyTorch, in processes that have both: test_other_backends.py runs this file there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

import holdfast

from ...restarts import VALIDATION, Stop, assert_same, interrupted, once
from .matrix import WITHIN, X, Y, script


def ours(**settings: Any) -> Any:
    return holdfast.dataset(X, Y, batch_size=8, seed=3, **settings)


def noisy(x: Any, y: Any, seed: Any) -> Any:
    return x + tf.random.stateless_normal(tf.shape(x), seed), y


def shuffled() -> Any:
    return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(48, seed=5).batch(8)


DATA: dict[str, tuple[Callable[[], dict[str, Any]], list[Stop]]] = {
    "holdfast.dataset": (lambda: {"x": ours()}, [(0, 0), WITHIN, (1, 5)]),
    "one that is mapped, repeated, and validated with one": (
        lambda: {"x": ours(map=noisy).repeat(), "steps_per_epoch": 4, "validation_data": ours(shuffle=False)},
        [(1, VALIDATION), (2, 1)],
    ),
}


@pytest.mark.parametrize("data", DATA)
def test_an_interrupted_training_ends_as_the_undisturbed_one(
    data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given, stops = DATA[data]
    run = script(data=given)
    assert_same(once(run, tmp_path / "whole"), interrupted(run, tmp_path / "stopped", *stops))
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("holdfast: ")]
    about = ("a new run", "stopped by", "going on", "the position in the data is saved as")
    assert [line for line in said if not any(text in line for text in about)] == [], "what is exact is not warned of"


def test_an_order_that_is_another_one_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """TensorFlow's shuffle gives each epoch another order, and a new process begins with the first one's."""
    run = script(data=lambda: {"x": shuffled(), "validation_data": shuffled()})
    assert interrupted(run, tmp_path, WITHIN).code is None
    said = capfd.readouterr().err
    assert said.count("comes in another order than before") == 1
    assert said.count("validation_data is a tf.data.Dataset that may come otherwise each time") == 2, "at each start"

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


def shuffled(**seed: int) -> Any:
    return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(48, **seed).batch(8)


DATA: dict[str, tuple[Callable[[], dict[str, Any]], list[Stop]]] = {
    "holdfast.dataset": (lambda: {"x": ours()}, [(0, 0), WITHIN, (1, 5)]),
    "one that is mapped, repeated, and validated with one": (
        lambda: {"x": ours(map=noisy).repeat(), "steps_per_epoch": 4, "validation_data": ours(shuffle=False)},
        [(1, VALIDATION), (2, 1)],
    ),
    "a pipeline that TensorFlow shuffles": (lambda: {"x": shuffled()}, [(0, 5), (1, 0), WITHIN]),
    "one that is its own validation data": (
        lambda: {"x": (data := shuffled()), "validation_data": data},
        [(0, VALIDATION), (1, 3)],
    ),
    "a shuffled one, and validation of a part of another": (
        lambda: {"x": shuffled(), "validation_data": shuffled(), "validation_steps": 2},
        [(0, VALIDATION), (1, 3), (1, VALIDATION)],
    ),
    "one with a seed of its own that repeats itself, in epochs of a part of it": (
        lambda: {"x": shuffled(seed=5).repeat(), "steps_per_epoch": 4},
        [(0, 3), (1, 0), (2, 1)],
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
    """Nobody seeds it, so that a new process cannot draw it again; nor does counting lead to an order below another."""
    held_out = shuffled(seed=1).shuffle(2, seed=2)
    run = script(data=lambda: {"x": shuffled(), "validation_data": held_out})
    assert interrupted(run, tmp_path, WITHIN, seed=None).code is None
    said = capfd.readouterr().err
    assert said.count("comes in another order than before") == 1
    assert said.count("validation_data is a tf.data.Dataset that may come otherwise each time") == 2, "at each start"


def test_an_order_that_no_count_leads_to_is_named_though_the_new_process_repeats_the_first_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The batches of both are the same then, so that comparing them tells nothing."""
    run = script(data=lambda: {"x": tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(48).shuffle(9).batch(8)})
    assert interrupted(run, tmp_path, (0, 5)).code is None
    assert capfd.readouterr().err.count("the data comes in another order in each epoch") == 1

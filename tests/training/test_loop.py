"""``holdfast.session``: the same guarantees for loops that are not ``fit``."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast
from holdfast.training.session import close_session

STEPS = 20


def gradient_tape(directory: Path, stop: int | None) -> bytes:
    """A custom loop over Keras variables, with an optimizer, a seed generator and NumPy's random numbers."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    noise = keras.random.SeedGenerator(5)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables, noise.state]
    with holdfast.session(every=6, directory=str(directory)) as run:
        if run.resume_from:
            for variable, value in zip(variables, run.resume_from.arrays.values(), strict=True):
                variable.assign(value)
        for step in range(run.step, STEPS):
            x = tf.constant(np.random.rand(8, 4), "float32")
            with tf.GradientTape() as tape:
                y = model(x + keras.random.normal((8, 4), stddev=0.1, seed=noise))
                loss = tf.reduce_mean((y - random.random()) ** 2)
            optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
            if step + 1 == stop:
                os.kill(os.getpid(), signal.SIGTERM)
            if run.boundary(step + 1):
                run.commit({f"{i} {v.path}": v for i, v in enumerate(variables)}, loss=float(loss))
    return b"".join(np.asarray(v.value).tobytes() for v in variables)


def started(directory: Path, stop: int | None = None) -> bytes | int:
    close_session()
    try:
        return gradient_tape(directory, stop)
    except SystemExit as error:
        return int(str(error.code))
    finally:
        close_session()


def test_a_gradient_tape_loop_ends_the_same_wherever_it_is_stopped(tmp_path: Path) -> None:
    undisturbed = started(tmp_path / "undisturbed")
    assert started(tmp_path / "stopped", 1) == 75
    assert started(tmp_path / "stopped", 13) == 75
    assert started(tmp_path / "stopped") == undisturbed


def test_values_come_back_as_they_were_given(tmp_path: Path) -> None:
    given: dict[str, Any] = {"names": ["a", ("b", 1)], "rate": 0.5, "array": np.arange(3), "none": None}
    close_session()
    with holdfast.session(directory=str(tmp_path)) as run:
        assert run.resume_from is None
        run.boundary(7, epoch=2, batch=3)
        run.commit({"half": np.ones(2, "float16"), "text": np.array(["x"])}, given, loss=float("inf"))
        run.commit({"half": np.ones(2, "float16"), "text": np.array(["x"])}, given, loss=0.25)
    next(tmp_path.glob("*/complete.json")).unlink()
    close_session()
    state = holdfast.session(directory=str(tmp_path)).resume_from
    close_session()
    assert state is not None
    assert (state.epoch, state.batch, state.step) == (2, 3, 7)
    assert state.arrays["half"].dtype == np.float16
    assert state.arrays["text"].tolist() == ["x"]
    assert state.values["array"].tolist() == [0, 1, 2]
    assert {**state.values, "array": None} == {**given, "array": None}


def test_what_is_not_plain_is_refused_at_once(tmp_path: Path) -> None:
    close_session()
    run = holdfast.session(directory=str(tmp_path))
    with pytest.raises(TypeError, match="object"):
        run.commit({}, {"model": object()})
    close_session()

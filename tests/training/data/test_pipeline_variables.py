"""What the functions of a pipeline draw from seed generators is drawn again, the same, when a training resumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast
from holdfast.training.data.pipeline_variables import DataState, chain_of, writes_variables
from holdfast.training.data.tf.tf_data_position import TfDataPosition

from ..restarts import VALIDATION, Script, assert_same, interrupted, once

layers = keras.layers
X = np.random.default_rng(3).random((40, 6)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def noise() -> Callable[..., Any]:
    """Draws from a Keras layer's seed generator, and from a generator of TensorFlow's."""
    layer, generator = layers.GaussianNoise(0.3, seed=5), tf.random.Generator.from_seed(2)
    return lambda x, y: (layer(x, training=True) * generator.uniform([]), y)


def behind_ours() -> Any:
    return holdfast.dataset(X, Y, batch_size=8, seed=1).map(noise())


def in_ours() -> Any:
    return holdfast.dataset(X, Y, batch_size=8, seed=1, map=noise())


def in_a_function() -> Any:
    function = noise()

    def epoch(seed: int) -> Any:
        data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(40, seed=seed, reshuffle_each_iteration=False)
        return data.batch(8).map(function)

    return holdfast.dataset(epoch, seed=1)


def repeated() -> Any:
    return holdfast.dataset(X, Y, batch_size=8, seed=1, map=noise()).repeat()


def script(make: Callable[[], Any], **fit: Any) -> Script:
    def run(callbacks: Any) -> Any:
        model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
        model.compile("adam", "mse")
        return model, model.fit(make(), epochs=3, shuffle=False, verbose=0, callbacks=callbacks, **fit)

    return run


WHOLE = pytest.mark.whole
KINDS = [(behind_ours, {}), (in_ours, {}), (in_a_function, {}), (repeated, {"steps_per_epoch": 4})]


@pytest.mark.parametrize(
    ("make", "fit"), [KINDS[1], *(pytest.param(*kind, marks=WHOLE) for kind in (KINDS[0], *KINDS[2:]))]
)
def test_what_is_drawn_is_the_same_after_a_resume(
    tmp_path: Path, make: Any, fit: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    whole = once(script(make, **fit), tmp_path / "whole")
    assert_same(whole, interrupted(script(make, **fit), tmp_path / "stopped", (0, 2), (1, 3)))
    assert "another order" not in capfd.readouterr().err


def drawn_in_python(x: Any, y: Any) -> Any:
    scaled = tf.numpy_function(lambda batch: (batch * np.random.rand()).astype("float32"), [x], tf.float32)
    return tf.ensure_shape(scaled, x.shape), y


def doubled_in_python(x: Any, y: Any) -> Any:
    return tf.ensure_shape(tf.numpy_function(lambda batch: batch * 2, [x], tf.float32), x.shape), y


@pytest.mark.parametrize(("function", "warned"), [(drawn_in_python, True), (doubled_in_python, False)])
def test_python_code_in_a_map_is_named_where_it_gives_other_batches(
    tmp_path: Path, function: Any, warned: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    run = script(lambda: holdfast.dataset(X, Y, batch_size=8, seed=1).map(function))
    interrupted(run, tmp_path, (0, 2), (2, 1))
    assert ("Python code that it calls" in capfd.readouterr().err) is warned


def test_a_map_of_ours_that_draws_from_tf_random_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It runs for several batches at once, and where they are dropped it does not run at all."""

    def make() -> Any:
        return holdfast.dataset(X, Y, batch_size=8, seed=1, map=lambda x, y: (x * tf.random.uniform([]), y))

    def stateless(x: Any, y: Any, seed: Any) -> Any:
        return x * tf.random.stateless_uniform([], seed), y

    once(script(make), tmp_path / "one")
    assert capfd.readouterr().err.count("the map of holdfast.dataset draws from tf.random (RandomUniform)") == 1
    once(script(lambda: holdfast.dataset(X, Y, batch_size=8, seed=1, map=stateless)), tmp_path / "two")
    assert "draws from tf.random" not in capfd.readouterr().err


@pytest.mark.parametrize(("function", "named"), [(drawn_in_python, 1), (doubled_in_python, 0)])
def test_python_code_in_a_map_of_ours_is_named_where_it_draws_random_numbers(
    tmp_path: Path, function: Any, named: int, capfd: pytest.CaptureFixture[str]
) -> None:
    np.random.seed(1)
    before = np.random.get_state()[2]  # type: ignore[index]
    data = TfDataPosition(holdfast.dataset(X, Y, batch_size=8, seed=1, map=function), None)
    assert str(data.unkept).count("calls Python code that draws random numbers") == named
    assert np.random.get_state()[2] == before  # type: ignore[index]


def test_what_validation_draws_is_the_same_after_a_resume(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def run(callbacks: Any) -> Any:
        """The state of the noise goes on from one validation to the next."""
        validation = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).map(noise())
        return script(in_ours, validation_data=validation)(callbacks)

    whole = once(run, tmp_path / "whole")
    assert_same(whole, interrupted(run, tmp_path / "stopped", (1, 1), (1, VALIDATION)))
    assert "draws from" not in capfd.readouterr().err


def test_what_validation_draws_and_cannot_be_kept_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    stateful = data.map(lambda x, y: (x * tf.random.uniform([], seed=3), y))
    once(script(in_ours, validation_data=stateful), tmp_path / "one")
    assert capfd.readouterr().err.count("the validation data draws from tf.random (RandomUniform)") == 1
    once(script(in_ours, validation_data=data.map(noise(), num_parallel_calls=2)), tmp_path / "two")
    assert capfd.readouterr().err.count("the validation data draws from a seed generator for several batches") == 1


def test_a_function_that_draws_for_several_batches_at_once_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def make() -> Any:
        return holdfast.dataset(X, Y, batch_size=8, seed=1).map(noise(), num_parallel_calls=2)

    once(script(make), tmp_path)
    assert capfd.readouterr().err.count("map it without num_parallel_calls") == 1


def test_what_is_only_read_is_told_from_what_is_written() -> None:
    factor = tf.Variable(2.0)
    scaled = holdfast.dataset(X, Y, batch_size=8, seed=1, map=lambda x, y: (x * factor, y))
    state = DataState(chain_of(scaled))
    assert list(state.read_only.values()) == [factor]
    assert state.written == {}
    assert not writes_variables(scaled)
    drawn = DataState(chain_of(behind_ours()))
    assert (len(drawn.written), drawn.read_only, drawn.at_once) == (2, {}, False)


def test_values_come_back() -> None:
    state = DataState(chain_of(in_ours()))
    before = state.values()
    [variable, *_] = state.written.values()
    variable.assign(variable + 5)
    assert state.values() != before
    state.assign(before)
    assert state.values() == before


def test_a_map_that_writes_nothing_still_runs_in_parallel_and_leaves_out_what_is_done() -> None:
    plain = holdfast.dataset(X, Y, batch_size=8, seed=1, map=lambda x, y: (x * 2, y))
    assert not plain.holdfast_passes.each_batch_counts
    assert in_ours().holdfast_passes.each_batch_counts


@pytest.mark.parametrize("of_validation", [False, True])
def test_a_map_that_draws_under_a_strategy_is_named_as_keras_takes_a_batch_of_its_own(
    tmp_path: Path, of_validation: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(callbacks: Any) -> Any:
        with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
            model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
            model.compile("adam", "mse")
        x, held_out = holdfast.dataset(X, Y, batch_size=8, seed=1), behind_ours()
        fit = {"x": x, "validation_data": held_out} if of_validation else {"x": held_out}
        return model, model.fit(**fit, epochs=1, verbose=0, callbacks=callbacks)

    once(run, tmp_path)
    assert capsys.readouterr().err.count("Keras takes a batch of its own while others are drawn ahead") == 1

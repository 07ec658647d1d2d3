"""What a fit with a ``tf.data`` pipeline says, keeps and leaves behind; that it goes on exactly is the suite's."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast
from holdfast.training.data.tf import state_bytes

from ...restarts import VALIDATION, Script, assert_same, interrupted, once

X = np.random.default_rng(1).random((40, 4), "float32")
WAY = "the position in the data is saved as "


def script(data: Any, *more: keras.callbacks.Callback, **fit: Any) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model, model.fit(data(), epochs=3, verbose=0, callbacks=[*callbacks, *more], **fit)

    return run


def samples() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((X, X[:, :1]))


def of_python() -> tf.data.Dataset:
    def same(x: Any, y: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(np.copy, [x], tf.float32), x.shape), y

    return samples().shuffle(20, seed=1).map(same).batch(8)


WAYS = {
    "the state of its iterator": lambda: samples().shuffle(20).batch(8),
    "a number of batches, which are drawn again": of_python,
    "the passes of holdfast.dataset": lambda: holdfast.dataset(X, X[:, :1], batch_size=8, seed=1),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_way_in_which_the_place_is_kept_is_said_once_and_stands_in_the_manifest(
    tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    once(script(WAYS[way]), tmp_path)
    said = capsys.readouterr().err
    assert said.count(WAY) == said.count(WAY + way) == 1
    assert {json.loads(path.read_bytes())["data"] for path in tmp_path.rglob("model-*.json")} == {way}


def test_a_seeded_shuffle_without_a_state_is_opened_as_often_as_before_and_goes_on_exactly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = interrupted(script(of_python), tmp_path / "a", (1, 2), (2, 3))
    assert_same(stopped, once(script(of_python), tmp_path / "b"))
    assert "order" not in capsys.readouterr().err


def of_two_passes() -> tf.data.Dataset:
    """A pass begins in the middle of an epoch, and advances the seeds."""
    return samples().take(20).shuffle(20).repeat(2).batch(8)


@pytest.mark.parametrize(
    "stops", [((0, VALIDATION), (1, 1)), pytest.param(((0, 4), (1, VALIDATION)), marks=pytest.mark.whole)]
)
def test_a_shuffle_below_a_repeat_goes_on_exactly_after_a_stop_in_validation(
    tmp_path: Path, stops: tuple[Any, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = script(of_two_passes, validation_data=(X, X[:, :1]))
    assert_same(interrupted(run, tmp_path / "a", *stops), once(run, tmp_path / "b"))
    assert "order" not in capsys.readouterr().err


def twice_shuffled() -> tf.data.Dataset:
    """Files and then samples, say."""
    return samples().shuffle(5).shuffle(20).batch(8)


@pytest.mark.parametrize("stop", [(1, VALIDATION), pytest.param((1, 4), marks=pytest.mark.whole)])
def test_a_shuffle_behind_a_shuffle_is_named_at_a_resume_after_the_epochs_last_batch(
    tmp_path: Path, stop: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    """The inner one's seeds advance with the first draw, not as an iterator is opened."""
    interrupted(script(twice_shuffled, validation_data=(X, X[:, :1])), tmp_path, stop)
    assert "order" in capsys.readouterr().err


@pytest.mark.whole
def test_a_shuffle_below_the_repeat_of_validation_data_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    once(script(lambda: samples().batch(8), validation_data=of_two_passes()), tmp_path)
    assert capsys.readouterr().err.count("Shuffle once, after repeat()") == 1


class SeesIterator(keras.callbacks.Callback):
    """Keeps the object that Keras goes through the data with."""

    def get_state(self) -> None:
        return None

    def set_state(self, state: Any) -> None:
        pass

    def on_train_begin(self, logs: Any = None) -> None:
        frame = sys._getframe()
        while "epoch_iterator" not in frame.f_locals:
            assert frame.f_back is not None
            frame = frame.f_back
        self.found = frame.f_locals["epoch_iterator"]


def test_keras_own_objects_are_as_they_were_once_the_fit_is_over(tmp_path: Path) -> None:
    seen = SeesIterator()
    once(script(lambda: samples().shuffle(20).batch(8), seen), tmp_path)
    assert "_get_iterator" not in vars(seen.found)
    assert "on_epoch_end" not in vars(seen.found.data_adapter)


def test_a_state_that_is_too_large_is_not_kept_and_the_training_resumes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(state_bytes, "MOST_BYTES", 100)
    run = script(lambda: samples().shuffle(20, seed=1).batch(8))
    assert_same(interrupted(run, tmp_path / "a", (1, 2)), once(run, tmp_path / "b"))
    said = capsys.readouterr().err
    assert "the state of the data's iterator is not kept (it has" in said
    assert "order" not in said


def of_many(seed: int | None) -> Any:
    """The state of a shuffle that holds many elements takes a while."""

    def data() -> tf.data.Dataset:
        numbers = tf.data.Dataset.range(30_000).shuffle(30_000, seed=seed).batch(600)
        return numbers.map(lambda n: (tf.zeros((8, 4)), tf.zeros((8, 1))))

    return data


@pytest.mark.parametrize("seed", [1, pytest.param(None, marks=pytest.mark.whole)])
def test_a_pair_without_a_state_that_took_too_long_says_so_and_data_without_a_seed_has_it_all_the_same(
    tmp_path: Path, seed: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    once(script(of_many(seed)), tmp_path, seed=None, every=10, keep=100)
    ways = [json.loads(path.read_bytes())["data"] for path in sorted(tmp_path.rglob("model-*.json"))]
    state, again = list(WAYS)[:2]
    assert (again in ways) is (seed is not None)
    assert capsys.readouterr().err.count(WAY + state) == 1


def concatenated() -> tf.data.Dataset:
    """Each iterator that is opened leaves the second shuffle where it was."""
    return samples().take(16).concatenate(samples().skip(16).shuffle(20, seed=1)).batch(8)


def test_a_shuffle_behind_other_data_is_named_as_training_and_as_validation_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    once(script(concatenated, validation_data=concatenated()), tmp_path)
    said = capsys.readouterr().err
    assert said.count("the next epochs may come in another order. Put shuffle() after concatenate()") == 1
    assert said.count("the next validations may see another order. Put shuffle() after concatenate()") == 1


def test_a_step_that_finds_no_batch_counts_as_often_as_it_does_undisturbed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keras learns the length of such data from a step that fails, which the optimizer counts."""
    unknown = samples().filter(lambda x, y: x[0] >= 0).batch(8)
    run = script(lambda: unknown, validation_data=unknown)
    stopped = interrupted(run, tmp_path / "a", (0, VALIDATION), (1, 4), (2, VALIDATION))
    assert_same(stopped, once(run, tmp_path / "b"))
    assert "does steps without" not in capsys.readouterr().err

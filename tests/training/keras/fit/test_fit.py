"""Moments of a ``fit`` that are easily missed: interrupted there, the ending is the undisturbed one's, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast
from holdfast.spool import Board, Spool

from ...restarts import VALIDATION, Script, assert_same, interrupted, once

layers = keras.layers
RNG = np.random.default_rng(6)
X, LABELS = RNG.random((36, 5), "float32"), RNG.integers(0, 3, 36)
TARGETS = keras.utils.to_categorical(LABELS, 3)
EPOCHS, BATCHES = 3, 6
Callbacks = list[keras.callbacks.Callback]


def made(*metrics: Any) -> keras.Model:
    model = keras.Sequential([layers.Input((5,)), layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "categorical_crossentropy", metrics=list(metrics))
    return model


def fitted(model: keras.Model, callbacks: Callbacks, **fit: Any) -> Any:
    """Validation has two batches."""
    data = holdfast.dataset(X, TARGETS, batch_size=6, seed=5)
    settings = {"epochs": EPOCHS, "verbose": 0, "shuffle": False, "validation_data": (X, TARGETS), **fit}
    return model.fit(data, callbacks=callbacks, **settings)


def script(others: Callable[[], Callbacks] = list, metrics: tuple[str, ...] = ("accuracy",), **fit: Any) -> Script:
    def run(callbacks: Callbacks) -> tuple[keras.Model, Any]:
        model = made(*metrics)
        return model, fitted(model, [*others(), *callbacks], **fit)

    return run


# --- metrics that are vectors ----------------------------------------------------------------------------------------


def without_the_witness(callbacks: Callbacks) -> Callbacks:
    """It takes each of the logs for a number."""
    stop, _, resume = callbacks
    return [stop, resume]


def plain(history: Any) -> dict[str, list[Any]]:
    return {key: [np.asarray(value).tolist() for value in values] for key, values in history.items()}


def test_a_metric_that_is_a_vector_is_shown_again_while_batches_are_passed_over(tmp_path: Path) -> None:
    def run(callbacks: Callbacks) -> tuple[keras.Model, Any]:
        model = made(keras.metrics.F1Score())
        return model, fitted(model, without_the_witness(callbacks), verbose=1)

    stopped, undisturbed = interrupted(run, tmp_path / "stopped", (1, 2)), once(run, tmp_path / "undisturbed")
    assert stopped.state == undisturbed.state
    assert plain(stopped.history) == plain(undisturbed.history)


def test_the_history_of_a_fit_that_is_passed_over_has_its_vectors(tmp_path: Path) -> None:
    first: list[Any] = []

    def run(callbacks: Callbacks) -> tuple[keras.Model, Any]:
        stop, _, resume = callbacks
        model = made(keras.metrics.F1Score())
        first.append(fitted(model, [resume], epochs=1).history)
        return model, fitted(model, [stop, holdfast.Resume(tmp_path)])

    interrupted(run, tmp_path, (1, 2))
    trained, passed_over = first
    assert plain(passed_over) == plain(trained)
    assert isinstance(passed_over["f1_score"][0], np.ndarray)


# --- an epoch's beginning --------------------------------------------------------------------------------------------


class AwayAtAnEpochsEnd(keras.callbacks.Callback):
    """Takes the run's folder away while the first epoch's pair is written, gives it back, and asks for a stop."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == 0:
            self.directory.rename(self.directory.with_suffix(".away"))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1 and self.directory.with_suffix(".away").exists():
            for thread in threading.enumerate():
                if thread.name == "holdfast-writer":
                    thread.join()
            self.directory.with_suffix(".away").rename(self.directory)
            os.kill(os.getpid(), signal.SIGTERM)


class Roulette(keras.callbacks.Callback):
    """Draws from NumPy's global state at each epoch's beginning, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def get_state(self) -> list[float]:
        return list(self.drawn)

    def set_state(self, state: list[float]) -> None:
        self.drawn = list(state)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.drawn.append(float(np.random.random()))
        self.model.optimizer.learning_rate = 0.05 * self.drawn[-1] * len(self.drawn)


@pytest.mark.parametrize("end", [2, pytest.param(EPOCHS, marks=pytest.mark.whole)])
@pytest.mark.parametrize(
    "other",
    [
        Roulette,
        pytest.param(
            lambda: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.7), marks=pytest.mark.whole
        ),
    ],
)
def test_a_stop_at_an_epochs_beginning_saves_what_could_not_be_written_and_others_see_it_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], other: Any, end: int
) -> None:
    runs, run = tmp_path / "runs", script(lambda: [other()], epochs=end)
    assert once(lambda callbacks: run([AwayAtAnEpochsEnd(runs), *callbacks]), runs).code == 75
    assert "could not be written" in capfd.readouterr().err
    (folder,) = runs.iterdir()
    assert [(name.epoch, name.step) for name in Spool(folder).pairs()] == [(1, BATCHES)]
    assert_same(once(run, runs), once(run, tmp_path / "undisturbed"))


# --- validation ------------------------------------------------------------------------------------------------------


class DrawsInValidation(keras.callbacks.Callback):
    """Draws from all global states in validation, and sets the learning rate by what comes next."""

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.draw()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = 0.1 * self.draw()

    def draw(self) -> float:
        keras_own = float(keras.random.uniform(()))
        return float(np.random.random()) * random.random() * keras_own


def test_validation_that_is_done_again_draws_what_it_drew_before(tmp_path: Path) -> None:
    run = script(lambda: [DrawsInValidation()])
    assert_same(interrupted(run, tmp_path / "stopped", (1, VALIDATION)), once(run, tmp_path / "undisturbed"))


class TimesValidation(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.began = self.seconds = 0.0

    def on_test_begin(self, logs: Any = None) -> None:
        self.began = time.monotonic()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Called in validation that ends and in one that does not."""
        self.seconds += time.monotonic() - self.began
        self.began = time.monotonic()


@pytest.mark.parametrize("stop", [None, (1, VALIDATION)], ids=["to its end", "stopped in validation"])
def test_the_time_of_validation_is_on_the_board(tmp_path: Path, stop: tuple[int, int] | None) -> None:
    watch = TimesValidation()
    began = time.monotonic()
    once(script(lambda: [watch]), tmp_path, stop)
    (board,) = tmp_path.glob(f"*/{Board.FILE}")
    assert 0 < watch.seconds <= Board.read(board).validated + 1e-5
    assert Board.read(board).validated < time.monotonic() - began


class TimeIsUp(keras.callbacks.Callback):
    """Ends the training in the middle of its second epoch."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch) == (1, 3):
            self.model.stop_training = True


def test_a_training_that_was_ended_in_an_epochs_middle_stays_ended(tmp_path: Path) -> None:
    run = script(lambda: [TimeIsUp()])
    undisturbed = once(run, tmp_path / "undisturbed")
    assert len(undisturbed.history["loss"]) == 2
    assert_same(interrupted(run, tmp_path / "stopped", (1, VALIDATION)), undisturbed)


@pytest.mark.parametrize(
    ("stop", "epochs", "text"), [((1, 3), 1, "1 epoch"), pytest.param((2, 1), 2, "2 epochs", marks=pytest.mark.whole)]
)
def test_fewer_epochs_than_are_done_train_nothing_and_that_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], stop: tuple[int, int], epochs: int, text: str
) -> None:
    assert once(script(), tmp_path, stop).code == 75
    assert once(script(epochs=epochs), tmp_path).code is None
    where = f"the checkpoint is at epoch {stop[0]}, batch {stop[1] + 1}"
    assert f"{where}, and fit is to train {text}: nothing is trained" in capfd.readouterr().err


def test_as_many_epochs_as_are_done_are_no_reason_to_warn(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    once(script(), tmp_path)
    next(tmp_path.glob("*/complete.json")).unlink()  # as if the process had died after its training
    once(script(), tmp_path)
    assert "nothing is trained" not in capfd.readouterr().err


class EndsAtOnce(keras.callbacks.Callback):
    """Ends the training as its second epoch begins."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = epoch == 1


def test_a_training_that_is_ended_among_the_batches_that_are_done_stores_nothing(tmp_path: Path) -> None:
    assert once(script(), tmp_path, (1, 3)).code == 75
    (folder,) = tmp_path.iterdir()
    before = Spool(folder).pairs()
    assert once(script(lambda: [EndsAtOnce()]), tmp_path).code is None
    assert Spool(folder).pairs() == before


def test_validation_is_done_again_without_metrics_too(tmp_path: Path) -> None:
    run = script(metrics=())
    assert_same(interrupted(run, tmp_path / "stopped", (1, VALIDATION)), once(run, tmp_path / "undisturbed"))


# --- fits that are over ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cleared", [False, pytest.param(True, marks=pytest.mark.whole)])
def test_each_model_of_a_script_has_its_own_last_weights_after_a_resume(tmp_path: Path, cleared: bool) -> None:
    ends: list[list[bytes]] = []

    def folds(callbacks: Callbacks) -> tuple[keras.Model, Any]:
        stop, _, _ = callbacks
        for fold in range(3):
            if cleared:
                keras.utils.clear_session(free_memory=False)
            model = made("accuracy")
            history = fitted(model, [*([stop] if fold == 2 else []), holdfast.Resume(tmp_path)], epochs=1)
            ends.append([weight.tobytes() for weight in model.get_weights()])
        return model, history

    assert once(folds, tmp_path, (0, 2)).code == 75
    stopped, ends[:] = list(ends), []
    assert once(folds, tmp_path).code is None
    assert ends[:2] == stopped


def test_two_models_with_a_layer_in_common_are_not_taken_for_each_other(tmp_path: Path) -> None:
    ends: list[list[bytes]] = []

    def two_heads(callbacks: Callbacks) -> tuple[keras.Model, Any]:
        stop, _, _ = callbacks
        inputs = keras.Input((5,))
        hidden = layers.Dense(4, name="shared")(inputs)
        for head in ("one", "two"):
            model = keras.Model(inputs, layers.Dense(3, "softmax", name=head)(hidden))
            model.compile("sgd", "categorical_crossentropy")
            history = fitted(model, [*([stop] if head == "two" else []), holdfast.Resume(tmp_path)], epochs=1)
            ends.append([weight.tobytes() for weight in model.get_weights()])
        return model, history

    assert once(two_heads, tmp_path, (0, 2)).code == 75
    stopped, ends[:] = list(ends), []
    assert once(two_heads, tmp_path).code is None
    assert ends[0] == stopped[0]


@pytest.mark.parametrize(
    ("batches", "steps", "validates", "named"),
    [(None, 5, True, True), (9, 5, True, True), (5, 5, True, False), (None, 4, True, False), (None, 5, False, False)],
    ids=["endless", "longer", "as long", "a multiple", "no validation"],
)
def test_an_epoch_whose_last_call_takes_more_batches_than_are_counted_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], batches: int | None, steps: int, validates: bool, named: bool
) -> None:
    def run(callbacks: Callbacks) -> tuple[keras.Model, Any]:
        model = keras.Sequential([layers.Input((5,)), layers.Dense(3, "softmax")])
        model.compile("sgd", "categorical_crossentropy", steps_per_execution=2)
        data = tf.data.Dataset.from_tensors((X[:6], TARGETS[:6])).repeat(batches)
        held_out = (X, TARGETS) if validates else None
        settings = {"epochs": 1, "steps_per_epoch": steps, "validation_data": held_out, "verbose": 0}
        return model, model.fit(data, callbacks=callbacks, **settings)

    once(run, tmp_path)
    said = "steps_per_epoch=5 is no multiple of steps_per_execution=2: Keras trains 6 batches an epoch"
    assert (said in capfd.readouterr().err) == named

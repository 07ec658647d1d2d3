"""A learning rate that the script changed between two starts: what is used is said, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import holdfast
from holdfast.core.errors import Mismatch

from ...restarts import once

X = np.random.default_rng(6).random((12, 3), "float32")
EPOCHS = 3


def said(
    directory: Path,
    capfd: pytest.CaptureFixture[str],
    first: Any,
    second: Any,
    others: Callable[[], list[keras.callbacks.Callback]] = list,
) -> tuple[str, float]:
    """What a second start says, with another learning rate than the first; and the rate at its end."""
    rates = [first, second]

    def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        rate = rates.pop(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(rate() if callable(rate) else rate), "mse")
        data = holdfast.dataset(X, X[:, :1], batch_size=6, seed=5)
        history = model.fit(data, epochs=EPOCHS, verbose=0, callbacks=[*others(), *callbacks], shuffle=False)
        rates.append(float(np.asarray(model.optimizer.learning_rate)))
        return model, history

    once(script, directory, stop=(1, 0))
    capfd.readouterr()
    once(script, directory)
    return capfd.readouterr().err, rates.pop()


def test_another_rate_is_named_with_that_of_the_checkpoint_which_is_used(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text, rate = said(tmp_path, capfd, 0.1, 0.01)
    assert "the script's learning rate is 0.01 now, and the checkpoint's 0.1 is used" in text
    assert "LearningRateScheduler(lambda epoch: 0.01)" in text
    assert rate == pytest.approx(0.1)


def test_the_remedy_that_is_named_helps_and_is_no_reason_to_warn_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    remedy = keras.callbacks.LearningRateScheduler
    assert said(tmp_path, capfd, 0.1, 0.01, lambda: [remedy(lambda epoch: 0.01)])[1] == pytest.approx(0.01)


def fading() -> keras.optimizers.schedules.LearningRateSchedule:
    return keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)


def steeper() -> keras.optimizers.schedules.LearningRateSchedule:
    return keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.25)


def test_of_another_schedule_the_scripts_is_used(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = "the learning rate's schedule is not the checkpoint's: the script's is used from here on"
    assert text in said(tmp_path, capfd, fading, steeper)[0]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [(0.1, steeper, "was a number, and is a schedule"), (fading, 0.01, "was a schedule, and is a number")],
)
def test_a_schedule_in_the_place_of_a_number_is_refused_with_what_to_do(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], first: Any, second: Any, words: str
) -> None:
    with pytest.raises(Mismatch, match=f"the learning rate {words}.*LearningRateScheduler"):
        said(tmp_path, capfd, first, second)


def halve(epoch: int, rate: float) -> float:
    return rate / 2


@pytest.mark.parametrize("rate", [0.1, fading])
def test_a_rate_that_only_training_changes_is_no_reason_to_warn(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], rate: Any
) -> None:
    others: Callable[[], list[Any]] = list
    if not callable(rate):
        others = lambda: [keras.callbacks.LearningRateScheduler(halve)]  # noqa: E731
    assert "learning rate" not in said(tmp_path, capfd, rate, rate, others)[0]


def test_a_fit_that_is_called_again_in_the_same_process_has_the_rate_that_it_left(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def raises_once(epoch: int, logs: Any = None) -> None:
        if epoch == 1 and not tried:
            tried.append(epoch)
            raise ConnectionError

    tried: list[int] = []

    def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        data = holdfast.dataset(X, X[:, :1], batch_size=6, seed=5)
        raises = keras.callbacks.LambdaCallback(on_epoch_begin=raises_once)
        while True:
            try:
                scheduler = keras.callbacks.LearningRateScheduler(halve)
                given = [scheduler, raises, *callbacks]
                return model, model.fit(data, epochs=EPOCHS, verbose=0, callbacks=given, shuffle=False)
            except ConnectionError:
                pass

    once(script, tmp_path)
    assert tried
    assert "learning rate" not in capfd.readouterr().err

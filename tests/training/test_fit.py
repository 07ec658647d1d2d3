"""Moments of a ``fit`` that are easily missed: interrupted there, the ending is the undisturbed one's, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

import holdfast

from .restarts import interrupted, once

layers = keras.layers
RNG = np.random.default_rng(6)
X, LABELS = RNG.random((36, 5), "float32"), RNG.integers(0, 3, 36)
TARGETS = keras.utils.to_categorical(LABELS, 3)
EPOCHS = 3
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

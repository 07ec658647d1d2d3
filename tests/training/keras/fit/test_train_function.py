"""A train function that is made anew, or wrapped, while the fit runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import holdfast
from holdfast.spool import Spool

from ...restarts import assert_same, interrupted, once

X = np.random.default_rng(4).random((24, 4), "float32")


def build() -> keras.Model:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(4)])
    model.compile("adam", "mse")
    return model


class Acts(keras.callbacks.Callback):
    """Does something to the model at one hook of the second epoch."""

    def __init__(self, hook: str, act: Callable[[keras.Model], None]) -> None:
        super().__init__()
        self._hook = hook
        self._act = act
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        self._at("epoch begins")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._at("batch begins")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._at("batch ends")

    def _at(self, hook: str) -> None:
        if (hook, self._epoch) == (self._hook, 1):
            self._act(self.model)


def make_anew(model: keras.Model) -> None:
    model.make_train_function(force=True)


def compile_anew(model: keras.Model) -> None:
    model.compile(model.optimizer, "mse")
    model.make_train_function()


def wrap(model: keras.Model) -> None:
    inner = model.train_function
    model.train_function = lambda iterator: inner(iterator)


CHANGES = {
    "made anew as an epoch begins": ("epoch begins", make_anew),
    "made anew before each batch": ("batch begins", make_anew),
    "made anew after each batch": ("batch ends", make_anew),
    "compiled": ("epoch begins", compile_anew),
    "wrapped": ("epoch begins", wrap),
    "wrapped again and again": ("batch begins", wrap),
}


FEW = ("compiled", "wrapped")


@pytest.mark.parametrize(
    "change", [pytest.param(one, marks=() if one in FEW else pytest.mark.whole) for one in CHANGES]
)
def test_steps_are_counted_and_a_resume_is_exact_whatever_becomes_of_the_train_function(
    tmp_path: Path, change: str
) -> None:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = build()
        data = holdfast.dataset(X, X, batch_size=8, seed=4)
        acts = Acts(*CHANGES[change])
        return model, model.fit(data, epochs=4, verbose=0, shuffle=False, callbacks=[acts, *callbacks])

    undisturbed = once(run, tmp_path / "undisturbed")
    stopped = interrupted(run, tmp_path / "stopped", (1, 1), (2, 0))
    assert_same(stopped, undisturbed)
    (folder,) = (tmp_path / "stopped").iterdir()
    newest = Spool(folder).pairs()[0]
    assert (newest.epoch, newest.step) == (4, 12)


class OwnLoop(keras.Model):
    """Trains in its own way, with Keras' callbacks and without a train function."""

    def fit(self, x: Any, y: Any, epochs: int, callbacks: list[Any]) -> Any:
        callbacks = keras.callbacks.CallbackList(callbacks, add_history=True, model=self, epochs=epochs, steps=3)
        self.stop_training = False
        self.make_train_function()
        callbacks.on_train_begin()
        for epoch in range(self._initial_epoch or 0, epochs):
            callbacks.on_epoch_begin(epoch)
            for batch in range(3):
                callbacks.on_train_batch_begin(batch)
                logs = self.train_step((x[batch * 8 : batch * 8 + 8], y[batch * 8 : batch * 8 + 8]))
                callbacks.on_train_batch_end(batch, logs)
            callbacks.on_epoch_end(epoch, {})
        callbacks.on_train_end({})
        return self.history


def test_steps_that_go_past_the_train_function_are_counted_and_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    inputs = keras.Input((4,))
    model = OwnLoop(inputs, keras.layers.Dense(4)(inputs))
    model.compile("adam", "mse")
    with pytest.raises(SystemExit, match="75"):
        model.fit(X, X, epochs=2, callbacks=[Stop(), holdfast.Resume(tmp_path)])
    (folder,) = tmp_path.iterdir()
    newest = Spool(folder).pairs()[0]
    assert newest.step == 2, "the stop stored what was trained"
    assert "without the model's train function" in capfd.readouterr().err

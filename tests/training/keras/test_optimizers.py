"""Optimizers that are not simply the compiled one: interrupted, the ending is the undisturbed one's, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast

from ..restarts import Script, assert_same, interrupted, once

layers = keras.layers
RNG = np.random.default_rng(4)
X, Y = RNG.random((24, 5), "float32"), RNG.random((24, 2), "float32")
STOP = (1, 2)


def script(build: Callable[[], keras.Model]) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = build()
        data = holdfast.dataset(X, Y, batch_size=6, seed=4)
        return model, model.fit(data, epochs=3, verbose=0, shuffle=False, callbacks=callbacks)

    return run


def check(build: Callable[[], keras.Model], tmp_path: Path) -> None:
    assert_same(interrupted(script(build), tmp_path / "stopped", STOP), once(script(build), tmp_path / "undisturbed"))


@pytest.mark.whole
def test_nadam_under_a_loss_scale_goes_on_as_it_was(tmp_path: Path) -> None:
    def build() -> keras.Model:
        model = keras.Sequential([layers.Input((5,)), layers.Dense(2)])
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam(0.05)), "mse")
        return model

    check(build, tmp_path)


class Two(keras.Model):
    """Two layers, each trained by an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = layers.Dense(4, "relu"), layers.Dense(2)

    def call(self, inputs: Any) -> Any:
        return self.two(self.one(inputs))

    def train_step(self, batch: Any) -> Any:
        x, y = batch
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        gradients = tape.gradient(loss, self.trainable_variables)
        first, second = self.both()
        first.apply(gradients[:2], self.trainable_variables[:2])
        second.apply(gradients[2:], self.trainable_variables[2:])
        return {"loss": loss}


class InList(Two):
    def __init__(self) -> None:
        super().__init__()
        self.pair = [keras.optimizers.Adam(0.01), keras.optimizers.RMSprop(0.01)]

    def both(self) -> Any:
        return self.pair


class InDict(Two):
    def __init__(self) -> None:
        super().__init__()
        self.named = {"one": keras.optimizers.Adam(0.01), "two": keras.optimizers.RMSprop(0.01)}

    def both(self) -> Any:
        return self.named["one"], self.named["two"]


class OfModels(Two):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (keras.Sequential([layer]) for layer in (self.one, self.two))
        self.one.compile(keras.optimizers.Adam(0.01))
        self.two.compile(keras.optimizers.RMSprop(0.01))

    def both(self) -> Any:
        return self.one.optimizer, self.two.optimizer


@pytest.mark.parametrize(
    "kind", [InList, *(pytest.param(kind, marks=pytest.mark.whole) for kind in (InDict, OfModels))]
)
def test_optimizers_of_a_step_of_its_own_go_on_as_they_were(tmp_path: Path, kind: type[Two]) -> None:
    def build() -> keras.Model:
        model = kind()
        model.compile(loss="mse")
        return model

    check(build, tmp_path)


def test_an_optimizer_that_only_an_earlier_training_used_does_not_keep_a_run_from_going_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The teacher is trained at the first start, and loaded at the next ones."""

    class Taught(Two):
        def __init__(self, train: bool) -> None:
            super().__init__()
            self.teacher = keras.Sequential([layers.Input((5,)), layers.Dense(2)])
            self.teacher.compile("adam", "mse")
            if train:
                self.teacher.fit(X, Y, epochs=1, verbose=0)
            self.first, self.second = keras.optimizers.Adam(0.01), keras.optimizers.RMSprop(0.01)

        def both(self) -> Any:
            return self.first, self.second

    def taught(train: bool) -> Script:
        def build() -> keras.Model:
            model = Taught(train)
            model.compile(loss="mse")
            return model

        return script(build)

    assert once(taught(True), tmp_path, STOP).code == 75
    assert once(taught(False), tmp_path).code is None
    assert "optimizer:teacher.optimizer: its state is not restored" in capfd.readouterr().err

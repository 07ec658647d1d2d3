"""A layer that draws from ``tf.random`` is named with its path, and one that draws as Keras' layers do is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast
from holdfast.training.session.open import close_session

layers = keras.layers


class Noise(layers.Layer):
    def call(self, inputs: Any) -> Any:
        return inputs + tf.random.normal(tf.shape(inputs))


class SeededNoise(layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(3)

    def call(self, inputs: Any) -> Any:
        return inputs + keras.random.normal(tf.shape(inputs), seed=self.seed_generator)


class NoisyStep(keras.Model):
    def train_step(self, data: Any) -> Any:
        x, y = data
        return super().train_step((x + tf.random.uniform(tf.shape(x)), y))


def said(model: keras.Model, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    model.compile("sgd", "mse")
    x = np.zeros((8, 4), "float32")
    capsys.readouterr()
    try:
        model.fit(x, x, epochs=2, verbose=0, callbacks=[holdfast.Resume(folder)])
    finally:
        close_session()
    return [line for line in capsys.readouterr().err.splitlines() if "tf.random" in line]


def test_a_layer_is_named_by_its_path_with_the_remedy_and_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = keras.Sequential([layers.Dense(4), Noise(name="noise")], name="inner")
    (line,) = said(keras.Sequential([layers.Input((4,)), inner, layers.Dropout(0.2)]), tmp_path, capsys)
    assert "the layer inner/noise draws from tf.random (RandomStandardNormal)" in line
    assert "keras.random.SeedGenerator" in line


def test_a_train_step_of_ones_own_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = layers.Input((4,))
    (line,) = said(NoisyStep(inputs, layers.Dense(4)(inputs)), tmp_path, capsys)
    assert "the train step (" in line
    assert "RandomUniform" in line


def test_a_layer_with_a_seed_generator_is_not_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(keras.Sequential([layers.Input((4,)), SeededNoise(), layers.Dropout(0.2)]), tmp_path, capsys) == []

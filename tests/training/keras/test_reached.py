"""State that no list of Keras' has: it is found by the attributes that lead to it, stored and restored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast
from holdfast.training.keras.object_graph import reach

from ..restarts import VALIDATION, Script, assert_same, interrupted, once

layers = keras.layers
WHOLE = pytest.mark.whole
RNG = np.random.default_rng(0)
X = RNG.random((48, 5, 3)).astype("float32")
Y = X.sum(axis=(1, 2))[:, None]


def script(build: Callable[[], Any], **fit: Any) -> Script:
    """``build`` gives a compiled model, and callbacks if it has some."""

    def run(callbacks: Any) -> Any:
        built = build()
        model, own = built if isinstance(built, tuple) else (built, [])
        data = holdfast.dataset(X, Y, batch_size=8, seed=1, drop_remainder=True)
        return model, model.fit(data, epochs=3, verbose=0, shuffle=False, callbacks=[*own, *callbacks], **fit)

    return run


def compiled(*inside: Any, loss: Any = "mse") -> keras.Model:
    model = keras.Sequential([keras.Input((5, 3), batch_size=8), *inside, layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), loss)
    return model


# --- each of these differs after a resume if its state is not kept


def lstm() -> keras.Model:
    return compiled(layers.LSTM(4, stateful=True))


def both_ways_and_stacked() -> keras.Model:
    cells = layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)], stateful=True)
    return compiled(layers.Bidirectional(layers.GRU(3, stateful=True, return_sequences=True)), cells)


class Deep(keras.Model):
    """Its recurrent layer is in a dict, in a layer inside; it is built by its first batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = keras.Sequential([layers.SimpleRNN(3, stateful=True)])
        self.heads = {"out": layers.Dense(1)}

    def call(self, x: Any) -> Any:
        return self.heads["out"](self.inside(x))


def in_a_subclassed_model() -> keras.Model:
    model = Deep()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


class Accumulates(keras.Model):
    """Gradients are summed in variables of TensorFlow's, and the learning is by every third sum."""

    def __init__(self) -> None:
        super().__init__()
        self.flat, self.out = layers.Flatten(), layers.Dense(1)
        self.count = tf.Variable(0, trainable=False, dtype=tf.int64)
        self.noise = tf.random.Generator.from_seed(5)

    def build(self, shape: Any) -> None:
        self.out.build((None, 15))
        self.sums = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in self.trainable_variables]
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.out(self.flat(inputs))

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y + self.noise.normal(tf.shape(y)), self(x, training=True))
        for total, gradient in zip(self.sums, tape.gradient(loss, self.trainable_variables), strict=True):
            total.assign_add(gradient)
        self.count.assign_add(1)

        def learn() -> int:
            self.optimizer.apply([tf.identity(total) for total in self.sums], self.trainable_variables)
            for total in self.sums:
                total.assign(tf.zeros_like(total))
            return 0

        tf.cond(self.count % 3 == 0, learn, lambda: 0)
        return {"loss": loss}


def variables_of_tensorflow() -> keras.Model:
    model = Accumulates()
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


class Growing(keras.losses.Loss):
    def __init__(self) -> None:
        super().__init__()
        self.weight = keras.Variable(1.0, trainable=False)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        self.weight.assign(self.weight * 1.1)
        return self.weight * keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


def in_a_loss() -> keras.Model:
    return compiled(layers.Flatten(), loss=Growing())


def in_a_function() -> keras.Model:
    strength, noise = keras.Variable(0.1, trainable=False), keras.random.SeedGenerator(4)

    def loss(y_true: Any, y_pred: Any) -> Any:
        strength.assign(strength + 0.1)
        return keras.ops.square(y_true - y_pred) * strength + keras.random.uniform((), seed=noise) * y_pred

    return compiled(layers.Flatten(), loss=loss)


class Warms(keras.callbacks.Callback):
    """Keeps a mean of the weights and what it multiplies by in variables."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Any] = []
        self.factor = tf.Variable(1.0)

    def on_train_begin(self, logs: Any = None) -> None:
        self.kept = [tf.Variable(v) for v in self.model.get_weights()]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.factor.assign(self.factor * 0.9)
        for mean, now in zip(self.kept, self.model.get_weights(), strict=True):
            mean.assign(0.9 * mean + 0.1 * now)
        self.model.set_weights([(mean + now * self.factor) / (1 + self.factor) for mean, now in self.both()])

    def both(self) -> Any:
        return zip([mean.numpy() for mean in self.kept], self.model.get_weights(), strict=True)


def in_a_callback() -> Any:
    return compiled(layers.Flatten()), [Warms()]


class Pace:
    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.factor = tf.Variable(0.9**batches)


class Replaces(keras.callbacks.Callback):
    """Puts another object, with another variable in it, in the place of its own at each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.pace = Pace(0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        pace = self.pace
        self.model.set_weights([weight * (1 - 0.1 * pace.factor.numpy()) for weight in self.model.get_weights()])
        if pace.batches % 4 == 3:
            self.model.set_weights([weight + 0.1 for weight in self.model.get_weights()])
        self.pace = Pace(pace.batches + 1)


def in_what_a_callback_replaces() -> Any:
    return compiled(layers.Flatten()), [Replaces()]


class Everything(Accumulates):
    """All of these in one model: each moves what the next step computes."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = layers.LSTM(4, stateful=True)

    def build(self, shape: Any) -> None:
        self.recurrent.build((8, 5, 3))
        self.out.build((None, 4))
        self.sums = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in self.trainable_variables]
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.out(self.recurrent(inputs))


def everything() -> Any:
    model = Everything()
    model.build((8, 5, 3))
    model.compile(keras.optimizers.Adam(0.01), Growing())
    return model, [Warms(), Replaces()]


class TrainsAnother(keras.callbacks.Callback):
    """Its loss decides the learning rate."""

    def __init__(self) -> None:
        super().__init__()
        self.other = compiled(layers.Flatten(), layers.Dense(2))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        loss = self.other.train_on_batch(X[:8], Y[:8])
        self.model.optimizer.learning_rate = 0.01 / (1 + float(loss))


def another_model_that_a_callback_trains() -> Any:
    return compiled(layers.Flatten()), [TrainsAnother()]


KINDS = [lstm, both_ways_and_stacked, in_a_subclassed_model, variables_of_tensorflow, in_a_loss, in_a_function]
KINDS += [in_a_callback, in_what_a_callback_replaces, another_model_that_a_callback_trains]


@pytest.mark.parametrize("build", [everything, *(pytest.param(build, marks=WHOLE) for build in KINDS)])
def test_the_state_goes_on_as_it_was(tmp_path: Path, build: Any, capfd: pytest.CaptureFixture[str]) -> None:
    whole = once(script(build), tmp_path / "whole")
    assert_same(whole, interrupted(script(build), tmp_path / "stopped", (0, 3), (1, 4)))
    assert lines_of_holdfast(capfd) == [], "what is exact is no news"


def lines_of_holdfast(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """But for those that say where a run starts and stops, and how the place in the data is kept."""
    usual = ("holdfast: /", "holdfast: the position in the data is saved as ")
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("holdfast: ")]
    return [line for line in said if not line.startswith(usual) and "(exit 75)" not in line]


@WHOLE
def test_validation_moves_the_state_of_a_recurrent_layer_too(tmp_path: Path) -> None:
    run = script(lstm, validation_data=(X[:16], Y[:16]), validation_batch_size=8)
    assert_same(once(run, tmp_path / "whole"), interrupted(run, tmp_path / "stopped", (0, VALIDATION), (2, 1)))


def test_the_variables_of_a_model_that_a_callback_trains_have_the_same_paths_before_its_first_step() -> None:
    """Its optimizer, once it is built, knows them too."""
    other = compiled(keras.Sequential([layers.Flatten(), layers.Dense(2)]))

    def train() -> None:
        other.fit(X, Y, verbose=0)

    before = reach({"train": train}).variables
    other.optimizer.build(other.trainable_variables)
    after = reach({"train": train}).variables
    assert len(before) >= 4
    assert {path: id(variable) for path, variable in after.items() if path in before} == {
        path: id(variable) for path, variable in before.items()
    }

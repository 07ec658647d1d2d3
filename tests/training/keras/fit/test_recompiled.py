"""``compile`` within a ``fit``, and another optimizer at the next start: never is one optimizer's state another's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import holdfast
from holdfast.core.errors import Mismatch
from holdfast.training.keras.fit.recompiled import Compiled

from ...restarts import Stop, assert_same, once

X = np.random.default_rng(6).random((12, 3), "float32")
EPOCHS = 3
Optimizer = Callable[[], keras.optimizers.Optimizer]


def momentum() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.1, momentum=0.9)


class CompilesAnew(keras.callbacks.Callback):
    """With an optimizer whose slots are as many, and of the same shapes."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            self.model.compile(keras.optimizers.RMSprop(0.1), "mse")
            self.model.make_train_function(force=True)  # as Keras wants it within fit


class ChangesTheLoss(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            self.model.compile(momentum(), "mae")
            self.model.make_train_function(force=True)


class FailsOnce(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 2:
            raise ConnectionError


class Freezes(keras.callbacks.Callback):
    def __init__(self, anew: bool) -> None:
        super().__init__()
        self.anew = anew

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            self.model.layers[0].trainable = False
            if self.anew:
                self.model.make_train_function(force=True)


def start(
    directory: Path,
    optimizer: Optimizer = momentum,
    others: Callable[[], Any] = lambda: [CompilesAnew()],
    stop: Stop | None = None,
) -> list[np.ndarray]:
    weights: list[np.ndarray] = []

    def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(optimizer(), "mse")
        data = holdfast.dataset(X, X[:, :1], batch_size=6, seed=5)
        history = model.fit(data, epochs=EPOCHS, verbose=0, callbacks=[*others(), *callbacks], shuffle=False)
        weights.extend(model.get_weights())
        return model, history

    once(script, directory, stop)
    return weights


def test_a_state_from_after_a_compile_within_fit_is_named_and_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start(tmp_path, stop=(2, 0))
    assert capfd.readouterr().err.count("a callback has compiled the model anew") == 1
    with pytest.raises(Mismatch, match="call fit once for each compile"):
        start(tmp_path)


def test_a_stop_before_it_changes_nothing(tmp_path: Path) -> None:
    start(tmp_path / "stopped", stop=(0, 0))
    stopped, whole = start(tmp_path / "stopped"), start(tmp_path / "whole")
    assert all(np.array_equal(one, other) for one, other in zip(stopped, whole, strict=True))


def test_another_rate_under_a_loss_scale_is_no_other_compile(tmp_path: Path) -> None:
    def scaled() -> keras.optimizers.Optimizer:
        return keras.optimizers.LossScaleOptimizer(momentum())

    def others() -> list[keras.callbacks.Callback]:
        return [keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1))]

    start(tmp_path / "stopped", scaled, others, stop=(1, 0))
    stopped, whole = start(tmp_path / "stopped", scaled, others), start(tmp_path / "whole", scaled, others)
    assert len(stopped) == len(whole)
    assert all(np.array_equal(one, other) for one, other in zip(stopped, whole, strict=True))


def test_a_retry_in_the_same_process_keeps_the_mark(tmp_path: Path) -> None:
    """It goes on with the other loss; a later start has the script's own again."""

    def retries(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(momentum(), "mse")
        failing = [FailsOnce()]
        while True:
            data = holdfast.dataset(X, X[:, :1], batch_size=6, seed=5)
            others = [ChangesTheLoss(), *failing]
            try:
                return model, model.fit(data, epochs=4, verbose=0, callbacks=[*others, *callbacks], shuffle=False)
            except ConnectionError:
                failing = []

    stopped = once(retries, tmp_path, stop=(3, 0))
    assert stopped.code == 75
    assert ("begin", 2, 0) in stopped.seen
    assert stopped.seen.count(("begin", 0, 0)) == 1, "the second call went on"
    with pytest.raises(Mismatch, match="call fit once for each compile"):
        once(retries, tmp_path)


def test_such_a_fit_that_is_over_has_its_weights_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fails_at_its_end(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(momentum(), "mse")
        data = holdfast.dataset(X, X[:, :1], batch_size=6, seed=5)
        model.fit(data, epochs=EPOCHS, verbose=0, callbacks=[CompilesAnew(), *callbacks], shuffle=False)
        ends.append(model.get_weights())
        raise ConnectionError

    ends: list[list[np.ndarray]] = []
    for _ in range(2):
        with pytest.raises(ConnectionError):
            once(fails_at_its_end, tmp_path)
    first, second = ends
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_another_optimizer_of_the_same_slots_is_refused(tmp_path: Path) -> None:
    start(tmp_path, keras.optimizers.Adam, list, stop=(1, 0))
    with pytest.raises(Mismatch, match="the script's optimizer is AdamW"):
        start(tmp_path, keras.optimizers.AdamW, list)


def test_a_layer_that_is_frozen_within_fit_by_a_new_train_function_is_named_and_refused(tmp_path: Path) -> None:
    start(tmp_path, others=lambda: [Freezes(anew=True)], stop=(2, 0))
    with pytest.raises(Mismatch, match="changed settings of its layers"):
        start(tmp_path, others=lambda: [Freezes(anew=True)])


def test_a_setting_that_the_train_function_has_read_before_changes_nothing(tmp_path: Path) -> None:
    def freezes() -> Any:
        return [Freezes(anew=False)]

    start(tmp_path / "stopped", others=freezes, stop=(2, 0))
    stopped, whole = start(tmp_path / "stopped", others=freezes), start(tmp_path / "whole", others=freezes)
    assert all(np.array_equal(one, other) for one, other in zip(stopped, whole, strict=True))


class Sets(keras.callbacks.Callback):
    """Once, and then no more."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            self.model.get_layer("frozen").trainable = False
            self.model.get_layer("drop").rate = 0.9


def eager(directory: Path, others: list[Any], stop: Stop | None = None) -> Any:
    def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        drop = keras.layers.Dropout(0.1, seed=3, name="drop")
        layers = [keras.layers.Dense(4, name="frozen"), drop, keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((3,)), *layers])
        model.compile(momentum(), "mse", run_eagerly=True)
        data = holdfast.dataset(X, X[:, :1], batch_size=6, seed=5)
        history = model.fit(data, epochs=3, verbose=0, callbacks=[*others, *callbacks], shuffle=False)
        return model, history

    return once(script, directory, stop)


def test_a_layers_setting_that_eager_steps_read_anew_is_as_it_was(tmp_path: Path) -> None:
    whole = eager(tmp_path / "whole", [Sets()])
    for stop in ((1, 0), (2, 0)):
        assert eager(tmp_path / "stopped", [Sets()], stop).code == 75
    assert_same(eager(tmp_path / "stopped", [Sets()]), whole)


class Replaces(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.model.layers[-1].activation = keras.activations.tanh


def test_a_layers_setting_of_eager_steps_that_is_no_number_is_named_and_refused(tmp_path: Path) -> None:
    eager(tmp_path, [Replaces()], (2, 0))
    with pytest.raises(Mismatch, match="changed settings of its layers"):
        eager(tmp_path, [Replaces()])


class Builds(keras.layers.Layer):
    """Makes a layer, and settles a setting, as it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.axes: tuple[int, ...] | None = None

    def build(self, shape: Any) -> None:
        self.axes, self.inner = tuple(range(1, len(shape))), keras.layers.Dropout(0.1, seed=4)
        self.inner.build(shape)

    def call(self, x: Any) -> Any:
        return self.inner(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axes": self.axes}


def test_an_eager_model_that_its_first_batch_builds_is_no_changed_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        drop = keras.layers.Dropout(0.1, seed=3, name="drop")
        model = keras.Sequential([keras.layers.Dense(4, name="frozen"), drop, Builds(), keras.layers.Dense(1)])
        model.compile(momentum(), "mse", run_eagerly=True)
        data = holdfast.dataset(X, X[:, :1], batch_size=6, seed=5)
        return model, model.fit(data, epochs=3, verbose=0, callbacks=[Sets(), *callbacks], shuffle=False)

    whole = once(script, tmp_path / "whole")
    assert once(script, tmp_path / "stopped", (1, 0)).code == 75
    assert_same(once(script, tmp_path / "stopped"), whole)
    assert "within fit" not in capfd.readouterr().err


class SetsRate(keras.callbacks.Callback):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def on_train_begin(self, logs: Any = None) -> None:
        self.model.get_layer("drop").rate = self.rate

    def on_train_end(self, logs: Any = None) -> None:
        assert self.model.get_layer("drop").rate == self.rate


def test_what_a_callback_sets_as_the_training_begins_is_the_scripts_own(tmp_path: Path) -> None:
    assert eager(tmp_path, [SetsRate(0.5)], (1, 0)).code == 75
    assert eager(tmp_path, [SetsRate(0.2)]).code is None


class Block(keras.layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.norm = keras.layers.BatchNormalization()

    def call(self, x: Any, training: bool = False) -> Any:
        return self.norm(x, training=training)


class Thaws(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            block, inner = self.model.layers[:2]
            block.trainable, block.norm.trainable, inner.trainable = True, False, False


def test_layers_inside_of_one_that_is_trained_again_are_frozen_as_they_were(tmp_path: Path) -> None:
    flags: list[list[bool]] = []

    def script(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
        model = keras.Sequential([keras.Input((3,)), Block(), inner, keras.layers.Dense(1)])
        model.layers[0].trainable = False
        model.compile(momentum(), "mse", run_eagerly=True)
        data = holdfast.dataset(X, X[:, :1], batch_size=6, seed=5)
        history = model.fit(data, epochs=3, verbose=0, callbacks=[Thaws(), *callbacks], shuffle=False)
        flags.append([layer.trainable for layer in (*model._flatten_layers(), *model.variables)])
        return model, history

    whole = once(script, tmp_path / "whole")
    assert once(script, tmp_path / "stopped", (1, 0)).code == 75
    assert_same(once(script, tmp_path / "stopped"), whole)
    assert flags[0] == flags[1]


class Focal(keras.losses.Loss):
    """Says nothing of its setting in a config."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return keras.ops.abs(y_true - y_pred) ** self.gamma


def settings() -> dict[str, Any]:
    return {
        "optimizer": keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9), momentum=0.9),
        "loss": [keras.losses.BinaryCrossentropy(label_smoothing=0.1), Focal(2.0)],
        "loss_weights": [1.0, 0.5],
        "metrics": [["mae"], [keras.metrics.BinaryAccuracy(threshold=0.5)]],
        "weighted_metrics": [["mse"], None],
    }


SETTINGS: dict[str, dict[str, Any]] = {
    "a setting of the loss": {"loss": [keras.losses.BinaryCrossentropy(label_smoothing=0.0), Focal(2.0)]},
    "a setting of one's own loss": {"loss": [keras.losses.BinaryCrossentropy(label_smoothing=0.1), Focal(1.0)]},
    "the weights of the losses": {"loss_weights": [1.0, 0.25]},
    "a metric's setting": {"metrics": [["mae"], [keras.metrics.BinaryAccuracy(threshold=0.4)]]},
    "a weighted metric": {"weighted_metrics": [["mae"], None]},
    "a schedule": {"optimizer": keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5), 0.9)},
}


@pytest.mark.parametrize("changed", [None, *SETTINGS])
def test_a_compile_within_fit_that_changes_a_setting_is_noticed_and_the_same_one_is_not(changed: str | None) -> None:
    inputs = keras.Input((3,))
    model = keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)])
    model.compile(**settings())
    compiled = Compiled(model)
    model.compile(**{**settings(), **SETTINGS.get(changed or "", {})})
    assert (compiled.settings(remade=True, kept={}) is None) is (changed is not None)


def test_a_loss_that_a_callback_changes_without_compile_is_no_other_compile() -> None:
    """As its step may be compiled; with metrics and without."""
    for metrics in (None, ["mae"]):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", Focal(2.0), metrics)
        compiled = Compiled(model)
        model.loss.gamma = 1.0
        assert compiled.settings(remade=False, kept={}) == {}

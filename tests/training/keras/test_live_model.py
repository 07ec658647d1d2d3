"""The training is watched, not touched: storing a pair changes nothing of the model, its optimizer and its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import holdfast
from holdfast.spool import Spool
from holdfast.training.keras import snapshot
from holdfast.training.keras.watched import Watched
from holdfast.training.pair import pair_files
from holdfast.training.pair.pair_files import Position
from holdfast.training.session.base import Session
from holdfast.training.session.open import close_session

from ..described import changes, described

layers = keras.layers
X = np.random.default_rng(0).random((64, 6)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def names_begin_anew() -> Iterator[None]:
    keras.utils.clear_session(free_memory=False)
    yield
    close_session()
    keras.utils.clear_session(free_memory=False)


def sequential() -> keras.Model:
    inside = [layers.Dense(4, "relu"), layers.BatchNormalization(), layers.Dropout(0.2, seed=1), layers.Dense(1)]
    model = keras.Sequential([keras.Input((6,)), *inside])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse", metrics=["mae"])
    return model


def functional() -> keras.Model:
    entry = keras.Input((6,))
    hidden = layers.Dense(3, "tanh")(entry)
    model = keras.Model(entry, {"a": layers.Dense(1, name="a")(hidden), "b": layers.Dense(1, name="b")(hidden)})
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9)
    losses = {"a": keras.losses.Huber(0.5), "b": "mae"}
    metrics = {"a": [keras.metrics.MeanAbsoluteError()], "b": ["mse"]}
    model.compile(keras.optimizers.AdamW(schedule), losses, loss_weights={"a": 1.0, "b": 0.5}, metrics=metrics)
    return model


class Own(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.inside = [layers.Dense(4, "relu"), layers.Dense(1)]
        self.second = keras.optimizers.Adagrad(0.1)

    def call(self, inputs: Any) -> Any:
        return self.inside[1](self.inside[0](inputs))


def subclassed() -> keras.Model:
    model = Own()
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Nadam()), lambda y, p: abs(y - p))
    return model


WHOLE = pytest.mark.whole
BUILDS = [sequential, functional, subclassed]


def trained(build: Callable[[], keras.Model], *callbacks: keras.callbacks.Callback) -> keras.Model:
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(3)
    model = build()
    y = {"a": Y, "b": Y} if build is functional else Y
    model.fit(X, y, batch_size=16, epochs=2, verbose=0, shuffle=False, callbacks=list(callbacks))
    return model


@pytest.mark.parametrize("build", BUILDS)
def test_a_pair_changes_nothing_that_can_be_reached_from_the_model(
    tmp_path: Path, build: Callable[[], keras.Model]
) -> None:
    model = trained(build)
    said: list[str] = []
    before = described(model, model.optimizer, model._compile_config)
    session = Session(Spool(tmp_path), 1, 1, None, durable=False)
    pair_files.write(session, snapshot.take(Watched(model), Position(1, 0, 4), "epoch", {"loss": 1.0}, {}, said.append))
    assert changes(before, described(model, model.optimizer, model._compile_config)) == []
    assert len(before) > 500, "it is looked at deeply"
    assert said == []


@pytest.mark.parametrize("build", [sequential, *(pytest.param(build, marks=WHOLE) for build in BUILDS[1:])])
def test_after_a_fit_with_resume_the_model_is_as_after_one_without(
    tmp_path: Path, build: Callable[[], keras.Model]
) -> None:
    without = trained(build)
    within = trained(build, holdfast.Resume(tmp_path, every=2))
    found = [described(model, model.optimizer, identity=False) for model in (without, within)]
    assert changes(*found) == []


def test_a_keras_file_that_is_saved_after_a_pair_opens_with_the_same_optimizer(tmp_path: Path) -> None:
    model = sequential()
    each_epoch = keras.callbacks.ModelCheckpoint(tmp_path / "e{epoch}.keras")
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[each_epoch, holdfast.Resume(tmp_path / "runs")])
    model.save(tmp_path / "final.keras")
    for name in ("e1", "e2", "e3", "final"):
        opened = keras.models.load_model(tmp_path / f"{name}.keras")
        assert type(opened.optimizer) is keras.optimizers.SGD, name
    assert opened.optimizer.get_config() == model.optimizer.get_config()
    values = [v.numpy().tolist() for v in model.optimizer.variables]
    assert [v.numpy().tolist() for v in opened.optimizer.variables] == values

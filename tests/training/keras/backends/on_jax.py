"""What holds on JAX, in a process that has no TensorFlow: test_other_backends.py runs this file there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import keras
import pytest

import holdfast
from holdfast.core.errors import SettingsError
from holdfast.training.session.open import close_session

from ...restarts import Script, Stop, assert_same, interrupted, once
from . import matrix
from .matrix import WITHIN, Shuffled, layers, script, small
from .what_holds import rows


class OwnStep(keras.Model):
    """A subclassed model with a step of its own, as Keras' guide for JAX has it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.drop, self.head = layers.Dense(6, "relu"), layers.Dropout(0.3), layers.Dense(1)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.head(self.drop(self.hidden(x), training=training))

    def train_step(self, state: Any, data: Any) -> Any:
        logs, state = super().train_step(state, data)
        return {**logs, "twice": 2 * logs["loss"]}, state


def reading() -> list[keras.callbacks.Callback]:
    """One that has the state put back into the variables in the midst of an epoch."""
    return [keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: _sync(batch))]


def _sync(batch: int) -> None:
    if batch == 1:
        for model in MODELS:
            model.jax_state_sync()


MODELS: list[Any] = []


def remembered() -> keras.Model:
    MODELS[:] = [small()]
    return MODELS[0]


ROWS: dict[str, tuple[Script, list[Stop]]] = {
    **matrix.ROWS,
    "a step of one's own": (script(OwnStep), [WITHIN]),
    "several steps at once": (script(compiled=lambda: {"steps_per_execution": 2}), [(1, 3)]),
    "a callback that reads the variables in an epoch": (script(remembered, others=reading), [(1, 1), (1, 2)]),
}


def test_the_documents_table_has_what_each_of_these_rows_shows() -> None:
    assert rows("jax") == set(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_an_interrupted_training_ends_as_the_undisturbed_one(row: str, tmp_path: Path) -> None:
    run, stops = ROWS[row]
    assert_same(once(run, tmp_path / "whole"), interrupted(run, tmp_path / "stopped", *stops))


def test_a_pair_within_an_epoch_opens_in_keras_and_says_its_backend(tmp_path: Path) -> None:
    assert once(script(), tmp_path, WITHIN).code == 75
    assert once(script(), tmp_path, (2, 5), every=5).code == 75
    pairs = sorted(tmp_path.glob("*/*.h5"))
    model = keras.models.load_model(pairs[-1], compile=False)
    assert model.count_params() == small().count_params()
    assert json.loads(pairs[-1].with_suffix(".json").read_text())["kind"] == "model"


def in_parts() -> keras.Model:
    mesh = keras.distribution.DeviceMesh((1, 1), ["batch", "model"], jax.devices()[:1])
    layout = keras.distribution.LayoutMap(mesh)
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch"))
    return small()


REFUSED = {
    "a model in parts": (script(in_parts), r"serves .*DataParallel, and this fit is distributed by ModelParallel: "),
    "a PyDataset with workers": (
        script(data=lambda: {"x": Shuffled(workers=2)}),
        r"^on JAX the workers of a PyDataset .*: give it workers=1",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_served_is_refused_before_it_trains(what: str, tmp_path: Path) -> None:
    run, error = REFUSED[what]
    try:
        with pytest.raises(SettingsError, match=error):
            once(run, tmp_path)
    finally:
        keras.distribution.set_distribution(None)


def test_nothing_of_tensorflow_is_loaded() -> None:
    assert holdfast.Resume is not None
    assert [name for name in sys.modules if name.split(".")[0] == "tensorflow"] == []
    close_session()

"""What holds with Keras 2, in a process that has no other: test_other_backends.py runs this file there."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import holdfast
from holdfast.core.errors import Mismatch, SettingsError
from holdfast.training.session.open import close_session

from ...restarts import VALIDATION, Script, Stop, assert_same, interrupted, once
from . import matrix
from .matrix import WITHIN, Shuffled, X, Y, drawn, layers, script, small, validated

keras.backend.experimental.enable_tf_random_generator()  # else Dropout keeps its state where nothing can read it


class OwnStep(keras.Model):
    """Two parts that learn in turn, each by an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.drop, self.head = layers.Dense(6, "relu"), layers.Dropout(0.3), layers.Dense(1)
        self.second_optimizer = keras.optimizers.RMSprop(0.01)
        self.error = keras.metrics.Mean(name="error")

    def call(self, x: Any, training: bool = False) -> Any:
        return self.head(self.drop(self.hidden(x), training=training))

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape(persistent=True) as tape:
            loss = tf.reduce_mean((self(x, training=True) - y) ** 2)
        for optimizer, part in ((self.optimizer, self.hidden), (self.second_optimizer, self.head)):
            weights = part.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self.error.update_state(loss)
        return {"error": self.error.result()}


def pipeline(*, seed: int | None = 1, keeps: Callable[..., Any] = lambda x, y: True) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(48, seed=seed).filter(keeps).batch(8)


def half() -> keras.Model:
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return small()
    finally:
        keras.mixed_precision.set_global_policy("float32")


def averaging() -> dict[str, Any]:
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 30)
    return {"optimizer": keras.optimizers.Adam(schedule, use_ema=True, ema_overwrite_frequency=3)}


def legacy() -> dict[str, Any]:
    return {"optimizer": keras.optimizers.legacy.Adam(0.01, decay=0.1)}


def plateau() -> list[keras.callbacks.Callback]:
    return [keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1, min_delta=100.0)]


WORDS = np.asarray([["red green"], ["blue red"], ["green green"]] * 16)


def reading() -> keras.Model:
    words = layers.TextVectorization(output_sequence_length=3)
    words.adapt(WORDS)
    last = [layers.Embedding(10, 4), layers.LSTM(3), layers.Dense(1)]
    return keras.Sequential([layers.Input((1,), dtype="string"), words, *last])


def several_inputs() -> keras.Model:
    a, b = layers.Input((4,), name="a"), layers.Input((4,), name="b")
    scaled = layers.Normalization()
    scaled.adapt(X)
    return keras.Model({"a": a, "b": b}, layers.Dense(1)(layers.Concatenate()([scaled(a), layers.Dropout(0.2)(b)])))


def storing() -> list[keras.callbacks.Callback]:
    """Keras 2's own formats for a model, and its own logs."""
    models = [keras.callbacks.ModelCheckpoint(name) for name in ("saved", "model.keras", "model.h5")]
    logs = [keras.callbacks.CSVLogger("log.csv"), keras.callbacks.TensorBoard("logs")]
    return [*models, *logs, keras.callbacks.BackupAndRestore("backup")]


IN_KERAS_2 = set(matrix.ROWS) - {
    "accumulated gradients, a moving average and a schedule",
    "half precision with a loss scale",
    "an epoch of a part of the arrays",
}
ROWS: dict[str, tuple[Script, list[Stop]]] = {
    **{name: row for name, row in matrix.ROWS.items() if name in IN_KERAS_2},
    "an epoch of a part of the arrays": (
        script(data=lambda: {"x": X, "y": Y, "batch_size": 4, "steps_per_epoch": 4}),
        [(1, 1), (2, 1)],
    ),
    "tf.data with a shuffle": (script(data=lambda: {"x": pipeline()}), [(0, 0), (1, 5)]),
    "tf.data of unknown length": (
        script(data=lambda: {"x": pipeline(keeps=lambda x, y: x[0] < 0.8)}),
        [(0, 1), (1, 1)],
    ),
    "tf.data with one iterator for all epochs": (
        script(data=lambda: {"x": pipeline().repeat(), "steps_per_epoch": 5}),
        [WITHIN, (1, 4)],
    ),
    "arrays of holdfast.dataset": (
        script(data=lambda: {"x": holdfast.dataset(X, Y, batch_size=8, seed=3)}),
        [WITHIN, (1, 5)],
    ),
    "validation with shuffled tf.data": (
        script(data=validated(lambda: pipeline(seed=None).take(2))),
        [(0, VALIDATION), WITHIN],
    ),
    "validation with a Sequence": (script(data=validated(Shuffled)), [(0, VALIDATION), WITHIN]),
    "a Sequence in its own order with weights of classes": (
        script(
            data=lambda: {"x": Shuffled(), "shuffle": False, "class_weight": {0: 1.0, 1: 2.0, 2: 0.5, 3: 1.5, 4: 1.0}}
        ),
        [WITHIN, (1, 5)],
    ),
    "a generator and validation": (
        script(data=lambda: {"x": drawn(), "steps_per_epoch": 5, "validation_data": (X, Y)}),
        [(0, VALIDATION), WITHIN],
    ),
    "a step of one's own with two optimizers": (script(OwnStep), [WITHIN]),
    "a moving average and a schedule": (script(compiled=averaging), [WITHIN]),
    "a legacy optimizer and a plateau": (script(compiled=legacy, others=plateau), [WITHIN]),
    "half precision with a loss scale": (script(half, others=plateau), [WITHIN]),
    "half precision and a legacy optimizer": (script(half, compiled=legacy), [WITHIN]),
    "several steps at once": (script(compiled=lambda: {"steps_per_execution": 4}), [(0, 3), (1, 5)]),
    "words that a layer has learned": (
        script(reading, data=lambda: {"x": WORDS, "y": Y, "batch_size": 8}),
        [WITHIN],
    ),
    "several inputs with weights of samples": (
        script(several_inputs, data=lambda: {"x": {"a": X, "b": X}, "y": Y, "sample_weight": Y[:, 0], "batch_size": 8}),
        [WITHIN],
    ),
    "callbacks that store models and logs": (script(others=storing), [WITHIN]),
    "steps that XLA compiles": (script(compiled=lambda: {"jit_compile": True}), [WITHIN]),
}


@pytest.mark.parametrize("row", ROWS)
def test_an_interrupted_training_ends_as_the_undisturbed_one(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, stops = ROWS[row]
    monkeypatch.chdir(tmp_path)
    assert_same(once(run, tmp_path / "whole"), interrupted(run, tmp_path / "stopped", *stops))


def test_a_pair_within_an_epoch_opens_in_keras_2_with_the_optimizers_slots(tmp_path: Path) -> None:
    assert once(script(), tmp_path, WITHIN).code == 75
    opened = keras.models.load_model(sorted(tmp_path.glob("*/*.h5"))[-1])
    assert opened.optimizer.iterations.numpy() == 9
    assert any(np.any(slot.numpy()) for slot in opened.optimizer.variables if slot.name.startswith("v/"))


def test_keras_2_does_not_time_the_hooks_because_of_resume(tmp_path: Path) -> None:
    """It warns of a slow one."""
    model = small()
    model.compile("adam", "mse")
    callbacks = keras.callbacks.CallbackList([holdfast.Resume(tmp_path)], add_history=True, model=model, epochs=1)
    model.fit(X, Y, batch_size=24, verbose=0, callbacks=callbacks)
    close_session()
    assert not callbacks._check_timing


class PicklesBeside(keras.callbacks.ModelCheckpoint):
    """As in the lesson: the model, and beside it what the training has come to."""

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        self.losses: list[float] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_end(epoch, logs)
        self.losses.append(float(logs["loss"]))
        Path(self.filepath).with_suffix(".pkl").write_bytes(pickle.dumps((epoch, self.losses)))


def lesson(folder: Path) -> Script:
    """To 3 epochs, and on to 6."""

    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = small()
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
        folder.mkdir(exist_ok=True)
        decay = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 * 0.5 ** (epoch // 2))
        given = [PicklesBeside(folder / "model.h5"), decay, *callbacks]
        model.fit(X, Y, batch_size=8, epochs=3, verbose=0, callbacks=given)
        return model, model.fit(X, Y, batch_size=8, initial_epoch=3, epochs=6, verbose=0, callbacks=given)

    return run


def test_a_checkpoint_class_that_pickles_beside_the_model_continues_to_more_epochs(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert_same(
        once(lesson(whole), tmp_path / "runs of one"),
        interrupted(lesson(stopped), tmp_path / "runs of other", (1, 2), (4, 1)),
    )
    assert (whole / "model.pkl").read_bytes() == (stopped / "model.pkl").read_bytes()
    weights = [keras.models.load_model(folder / "model.h5").get_weights() for folder in (whole, stopped)]
    assert all(np.array_equal(one, other) for one, other in zip(*weights, strict=True))


def test_a_pair_of_keras_3_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from holdfast.training.keras.backends import keras_2

    monkeypatch.setattr(keras_2, "name", "tensorflow")
    assert once(script(), tmp_path, WITHIN).code == 75
    monkeypatch.undo()
    with pytest.raises(Mismatch, match=r"taken with Keras 3, and this fit is of Keras 2: unset TF_USE_LEGACY_KERAS, "):
        once(script(), tmp_path)


REFUSED = {
    "workers": (script(data=lambda: {"x": Shuffled(), "workers": 2}), r"^holdfast.Resume serves fit\(workers=1\)"),
    "a number of steps that changes": (
        script(compiled=lambda: {"steps_per_execution": "auto"}),
        r"^holdfast.Resume does not serve steps_per_execution='auto'",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_served_is_refused_before_it_trains(what: str, tmp_path: Path) -> None:
    run, error = REFUSED[what]
    with pytest.raises(SettingsError, match=error):
        once(run, tmp_path)


@pytest.mark.parametrize(("eager", "operation"), [(False, "RandomUniform"), (True, "Dropout")])
def test_a_layer_whose_random_state_nothing_can_read_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], eager: bool, operation: str
) -> None:
    keras.backend.experimental.disable_tf_random_generator()
    try:
        model = keras.Sequential([layers.Input((3,)), layers.Dropout(0.5, name="drop"), layers.Dense(1)])
    finally:
        keras.backend.experimental.enable_tf_random_generator()
    model.compile("sgd", "mse", run_eagerly=eager)
    try:
        model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0, callbacks=[holdfast.Resume(tmp_path)])
    finally:
        close_session()
    assert f"holdfast: the layer drop draws from tf.random ({operation})" in capfd.readouterr().err

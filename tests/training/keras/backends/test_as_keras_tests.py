"""What Keras' own tests ask of BackupAndRestore and ModelCheckpoint, asked of Resume, and of ModelCheckpoint beside it.

With TensorFlow; test_other_backends.py runs this file on the other backends, too.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast.training.session.open import close_session

from ...restarts import interrupted, keras, once

layers = keras.layers
RNG = np.random.default_rng(7)
X, Y = RNG.random((10, 3)).astype("float32"), RNG.random((10, 1)).astype("float32")  # three batches of at most 4
LAST = np.full((30, 3), 0.5, "float32")


class Counts(layers.Layer):
    """Counts the batches that the model has seen, as a part of its state."""

    def __init__(self) -> None:
        super().__init__()
        self.counter = self.add_weight(shape=(), initializer="zeros", dtype="float32", trainable=False)

    def call(self, x: Any) -> Any:
        self.counter.assign_add(1)
        return x


class Interrupts(keras.callbacks.Callback):
    """Raises once, after so many batches or epochs."""

    def __init__(self, after: str, number: int) -> None:
        super().__init__()
        self.after, self.number, self.seen = after, number, {"batch": 0, "epoch": 0}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._count("epoch")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._count("batch")

    def _count(self, what: str) -> None:
        self.seen[what] += 1
        if (self.after, self.number) == (what, self.seen[what]):
            raise RuntimeError("interrupted")


def counting() -> keras.Model:
    model = keras.Sequential([layers.Input((3,)), Counts(), layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mse"])
    return model


def fit(model: keras.Model, epochs: int, *callbacks: keras.callbacks.Callback) -> Any:
    return model.fit(X, Y, batch_size=4, epochs=epochs, verbose=0, callbacks=[*callbacks])


def seen(model: keras.Model) -> int:
    (counter,) = [weight for weight in model.get_weights() if weight.shape == ()]
    return int(counter)


@pytest.mark.parametrize(("after", "number"), [("epoch", 2), ("epoch", 3), ("batch", 2), ("batch", 7)])
def test_a_fit_that_is_called_again_after_an_exception_sees_each_batch_once(
    tmp_path: Path, after: str, number: int
) -> None:
    close_session()
    model, resume = counting(), holdfast.Resume(tmp_path, every=1)
    with pytest.raises(RuntimeError, match="interrupted"):
        fit(model, 5, Interrupts(after, number), resume)
    history = fit(model, 5, resume)
    assert seen(model) == 15
    assert history.epoch == [0, 1, 2, 3, 4]
    close_session()


def test_a_damaged_newest_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    close_session()
    with pytest.raises(RuntimeError, match="interrupted"):
        fit(counting(), 5, Interrupts("epoch", 3), holdfast.Resume(tmp_path))
    for thread in threading.enumerate():
        if thread.name == "holdfast-writer":
            thread.join()
    close_session()
    max(tmp_path.glob("*/model-*.h5")).write_text("0")
    model = counting()
    history = fit(model, 5, holdfast.Resume(tmp_path))
    assert seen(model) == 15
    assert history.epoch == [0, 1, 2, 3, 4]
    close_session()


def test_what_is_trained_to_its_end_is_not_trained_again(tmp_path: Path) -> None:
    for _ in range(2):
        close_session()
        model = counting()
        assert fit(model, 2, holdfast.Resume(tmp_path)).epoch == [0, 1]
        assert seen(model) == 6
    close_session()


def saving(folder: Path) -> list[keras.callbacks.Callback]:
    """Each way to name and to choose that Keras' tests have; a folder that is not there is made."""
    best = {"monitor": "val_loss", "save_best_only": True}
    each = keras.callbacks.ModelCheckpoint
    return [
        each(str(folder / "sub" / "newest.keras")),
        each(str(folder / "third-{epoch:02d}.keras"), save_freq=15),
        each(str(folder / "third-{epoch:02d}.weights.h5"), save_freq=15, save_weights_only=True),
        each(str(folder / "each-{epoch:02d}-{batch:02d}.weights.h5"), save_freq=1, save_weights_only=True),
        each(str(folder / "best-{epoch:02d}.keras"), **best),
        each(str(folder / "most.keras"), **{**best, "mode": "max"}),
        each(str(folder / "below.keras"), initial_value_threshold=0.0, **best),
        each(str(folder / "above.keras"), **{**best, "mode": "max", "initial_value_threshold": -0.01}),
        each(str(folder / "unknown.keras"), **{**best, "monitor": "unknown", "mode": "max"}),
    ]


def classifying(folder: Path) -> Any:
    x = np.linspace(0, 1, 90, dtype="float32").reshape(30, 3)
    y = np.eye(3, dtype="float32")[np.arange(30) % 3]

    def run(callbacks: list[keras.callbacks.Callback]) -> Any:
        model = keras.Sequential([layers.Input((3,)), layers.Dense(5, "relu"), layers.Dense(3, "softmax")])
        model.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
        chosen = [*saving(folder), *callbacks]
        given = {"batch_size": 6, "validation_data": (x, y[::-1]), "epochs": 7, "verbose": 0}
        return model, model.fit(x, y, callbacks=chosen, **given)

    return run


def test_an_interrupted_training_leaves_the_files_of_an_undisturbed_one(tmp_path: Path) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    once(classifying(whole), tmp_path / "run")
    interrupted(classifying(stopped), tmp_path / "other run", (1, 2), (2, 4), (5, 0))
    names = sorted(str(file.relative_to(whole)) for file in whole.rglob("*.*"))
    assert names == sorted(str(file.relative_to(stopped)) for file in stopped.rglob("*.*"))
    assert {"third-03.keras", "third-06.weights.h5", "each-07-05.weights.h5", "above.keras"} <= set(names)
    assert "below.keras" not in names
    for name in names:
        assert values_in(whole / name) == values_in(stopped / name), name


def values_in(file: Path) -> list[bytes]:
    if file.suffix == ".keras":
        return [weight.tobytes() for weight in keras.models.load_model(file).get_weights()]
    model = keras.Sequential([layers.Input((3,)), layers.Dense(5, "relu"), layers.Dense(3, "softmax")])
    model.load_weights(file)
    return [weight.tobytes() for weight in model.get_weights()]


def test_a_checkpoints_h5_opens_as_the_model_that_was_trained(tmp_path: Path) -> None:
    """One with a fixed number of rows, as in Keras' test of loading."""
    close_session()
    given = layers.Input((3,), batch_size=5)
    model = keras.Model(given, layers.Dense(3, "softmax")(layers.Dense(5, "relu")(given)))
    model.compile("sgd", "mse")
    model.fit(LAST, LAST, batch_size=5, epochs=2, verbose=0, callbacks=[holdfast.Resume(tmp_path)])
    opened = keras.models.load_model(max(tmp_path.glob("*/model-*.h5")), compile=False)
    assert (
        opened.predict(LAST, batch_size=5, verbose=0).tolist() == model.predict(LAST, batch_size=5, verbose=0).tolist()
    )
    close_session()

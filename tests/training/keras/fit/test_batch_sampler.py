"""Batches are looked at on their way into the train function; the training is the one that it is without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import holdfast
from holdfast.training.data.batch_digests import BatchDigests, is_sampled
from holdfast.training.keras.backends.tensorflow import arrays_of
from holdfast.training.keras.fit.batch_sampler import BatchSampler
from holdfast.training.keras.fit.progress import FitProgress

from ...restarts import Script, assert_same, interrupted, once

layers = keras.layers
RNG = np.random.default_rng(6)
X, Y = RNG.random((120, 5), "float32"), RNG.random((120, 2), "float32")
Callbacks = list[keras.callbacks.Callback]


def model(**settings: Any) -> keras.Model:
    found = keras.Sequential([layers.Input((5,)), layers.Dense(3, "relu"), layers.Dropout(0.3), layers.Dense(2)])
    found.compile(keras.optimizers.Adam(0.01), "mse", **settings)
    return found


def arrays() -> dict[str, Any]:
    return {"x": X, "y": Y, "batch_size": 10}


def weighted() -> dict[str, Any]:
    return {"x": X, "y": Y, "sample_weight": np.arange(120.0), "batch_size": 10}


def unequal() -> dict[str, Any]:
    def batches() -> Iterator[Any]:
        for n in range(12):
            yield X[n * 10 : n * 10 + 7 + n % 3], Y[n * 10 : n * 10 + 7 + n % 3]

    specs = (tf.TensorSpec((None, 5), tf.float32), tf.TensorSpec((None, 2), tf.float32))
    return {"x": tf.data.Dataset.from_generator(batches, output_signature=specs)}


class Sampling(keras.callbacks.Callback):
    """Puts a sampler before the train function, as ``Resume`` does."""

    def __init__(self) -> None:
        super().__init__()
        self.digests = BatchDigests()
        self.seen: list[tuple[int, int]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.progress = FitProgress(0, self.params["epochs"], self.params["steps"])
        sampler = BatchSampler(self.digests, self.progress, True, pytest.fail)
        self.inner = inner = self.model.train_function

        def train(iterator: Any) -> Any:
            logs = sampler.call(inner, iterator, self.model.steps_per_execution)
            self.progress.computed(logs, self.model.steps_per_execution)
            return logs

        self.model.train_function = train

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.progress.begin_epoch(epoch)

    def on_train_end(self, logs: Any = None) -> None:
        self.model.train_function = self.inner


def whole(*row: Any) -> Any:
    return pytest.param(*row, marks=pytest.mark.whole)


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        (weighted, {"steps_per_execution": 4}),
        (unequal, {}),
        whole(arrays, {}),
        whole(arrays, {"jit_compile": True}),
        whole(arrays, {"steps_per_execution": 4}),
        whole(unequal, {"steps_per_execution": 4}),
    ],
)
def test_a_training_whose_batches_are_looked_at_is_the_same_bit_for_bit(
    data: Callable[[], dict[str, Any]], settings: dict[str, Any]
) -> None:
    ends, tracings = [], []
    for callbacks in ([], [Sampling()]):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(3)
        trained = model(**settings)
        history = trained.fit(**data(), epochs=2, verbose=0, callbacks=callbacks)
        ends.append(([w.tobytes() for w in trained.get_weights()], history.history))
        functions = trained.train_function.__closure__
        tracings.append([c.cell_contents.experimental_get_tracing_count() for c in functions if traced(c)])
    assert ends[0] == ends[1]
    assert tracings[0] == tracings[1], "no graph was traced anew"


def traced(cell: Any) -> bool:
    return hasattr(cell.cell_contents, "experimental_get_tracing_count")


def test_what_is_looked_at_is_what_is_trained_on() -> None:
    sampling = Sampling()
    model().fit(**arrays(), shuffle=False, epochs=1, verbose=0, callbacks=[sampling])
    expected = BatchDigests()
    for batch in filter(is_sampled, range(12)):
        part = slice(batch * 10, batch * 10 + 10)
        expected.add(0, batch, [X[part], Y[part]])
    assert sampling.digests.facts() == expected.facts()


class DrawsTwice(keras.Model):
    """A train function of its own, which draws two batches a step."""

    def make_train_function(self, force: bool = False) -> Any:
        def two(iterator: Any) -> Any:
            self.train_step(next(iterator))
            return self.train_step(next(iterator))

        self.train_function = two
        return two


def test_a_train_function_that_is_not_keras_own_is_left_alone() -> None:
    inputs = layers.Input((5,))
    trained = DrawsTwice(inputs, layers.Dense(2)(inputs))
    trained.compile("sgd", "mse")
    sampling = Sampling()
    trained.fit(**arrays(), steps_per_epoch=6, epochs=1, verbose=0, callbacks=[sampling])
    assert sampling.digests.facts() == []


def test_ragged_and_sparse_batches_have_arrays_to_compare() -> None:
    ragged = tf.RaggedTensor.from_row_lengths([1, 2, 3], [1, 2])
    sparse = tf.sparse.from_dense([[0, 1], [2, 0]])
    found = [array.tolist() for array in arrays_of((ragged, {"a": sparse}))]
    assert found == [[1, 2, 3], [0, 1, 3], [[0, 1], [1, 0]], [1, 2], [2, 2]]


# --- what a resumed fit says of its data -----------------------------------------------------------------------------


def fixed() -> dict[str, Any]:
    return {"x": tf.data.Dataset.from_tensor_slices((X, Y)).map(lambda a, b: (a, b)).batch(10)}


def cached() -> dict[str, Any]:
    return {"x": tf.data.Dataset.from_tensor_slices((X, Y)).cache().shuffle(120).batch(10).prefetch(2)}


def shuffled() -> dict[str, Any]:
    return {"x": tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(120, seed=1).batch(10)}


def shuffled_anew() -> dict[str, Any]:
    made = holdfast.dataset(X, Y, batch_size=10, seed=1).unbatch().shuffle(120, seed=1).batch(10)
    return {"x": made.apply(tf.data.experimental.assert_cardinality(12))}


def script(data: Callable[[], dict[str, Any]]) -> Script:
    def run(callbacks: Callbacks) -> tuple[keras.Model, Any]:
        trained = model()
        return trained, trained.fit(**data(), epochs=4, verbose=0, callbacks=callbacks)

    return run


@pytest.mark.parametrize(
    ("data", "stops"),
    [
        (arrays, [(0, 3), (1, 11), (2, 5)]),
        (cached, [(2, 4)]),
        (shuffled, [(1, 11), (2, 4)]),
        whole(arrays, [(2, 4)]),
        whole(fixed, [(1, 11)]),
        whole(fixed, [(2, 4)]),
        whole(cached, [(0, 3), (1, 11), (2, 5)]),
    ],
)
def test_data_that_is_exact_is_not_warned_of(
    data: Callable[[], dict[str, Any]], stops: list[tuple[int, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_same(interrupted(script(data), tmp_path / "stopped", *stops), once(script(data), tmp_path / "undisturbed"))
    assert "order" not in capsys.readouterr().err


def test_a_shuffle_that_begins_anew_is_named_with_the_batch_that_proves_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(script(shuffled_anew), tmp_path, (2, 4))
    assert "another order than before: batch 1 of epoch 3 is not the one that it was" in capsys.readouterr().err


def test_a_shuffle_that_begins_anew_between_two_epochs_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted(script(shuffled_anew), tmp_path, (1, 11))
    assert capsys.readouterr().err.count("another order in each epoch") == 1


def test_a_shuffle_within_its_first_epoch_is_resumed_exactly_and_not_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = interrupted(script(shuffled), tmp_path / "stopped", (0, 4))
    assert_same(stopped, once(script(shuffled), tmp_path / "undisturbed"))
    assert "order" not in capsys.readouterr().err

"""When another thread may store the last boundary while a step waits for its batch."""

from __future__ import annotations

import threading
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from holdfast.training.keras.fit.stop import stays_until_batch


class ChangesTheRate(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate.assign(0.5)


class SeesTheEnd(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        pass


class OwnTrainFunction(keras.Sequential):
    def make_train_function(self, force: bool = False) -> Any:
        return super().make_train_function(force)


def compiled(kind: type[keras.Model] = keras.Sequential, **settings: Any) -> keras.Model:
    model = kind([keras.Input((3,)), keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(1)])
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.1), "mse", **settings)
    return model


@pytest.mark.parametrize("settings", [{"jit_compile": True}, {"run_eagerly": True}])
def test_a_step_that_begins_when_its_batch_is_there_changes_nothing_while_it_waits(settings: dict[str, Any]) -> None:
    """The model's seed, its weights and the optimizer's count are those of the boundary."""
    model = compiled(**settings)
    assert stays_until_batch(model, [SeesTheEnd(), keras.callbacks.History()])
    at_boundary: list[np.ndarray] = []
    while_waiting: list[np.ndarray] = []
    waits = threading.Event()

    def values() -> list[np.ndarray]:
        return [keras.ops.convert_to_numpy(one).copy() for one in (*model.variables, *model.optimizer.variables)]

    class Reads(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if batch == 1:
                at_boundary.extend(values())
                waits.set()

    def batches() -> Any:
        yield np.ones((2, 3), "float32"), np.ones((2, 1), "float32")
        assert waits.wait(60)
        while_waiting.extend(values())
        yield np.ones((2, 3), "float32"), np.ones((2, 1), "float32")

    signature = (tf.TensorSpec((2, 3)), tf.TensorSpec((2, 1)))
    data = tf.data.Dataset.from_generator(batches, output_signature=signature)
    model.fit(data, steps_per_epoch=2, verbose=0, callbacks=[Reads()])
    assert while_waiting
    assert all(map(np.array_equal, at_boundary, while_waiting))


@pytest.mark.parametrize(
    "settings", [{"jit_compile": False}, {"jit_compile": True, "steps_per_execution": 2}], ids=["graph", "several"]
)
def test_a_step_that_may_begin_before_its_batch_is_there_is_not_stored_while_it_waits(settings: dict[str, Any]) -> None:
    assert not stays_until_batch(compiled(**settings), [])


def test_a_train_function_of_the_models_own_may_begin_before_its_batch_is_there() -> None:
    assert not stays_until_batch(compiled(OwnTrainFunction, jit_compile=True), [])


@pytest.mark.parametrize(
    "callback",
    [ChangesTheRate(), keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: None)],
    ids=["of a class", "of a function"],
)
def test_what_another_callback_does_as_the_batch_begins_comes_after_the_boundary(
    callback: keras.callbacks.Callback,
) -> None:
    assert not stays_until_batch(compiled(jit_compile=True), [callback])

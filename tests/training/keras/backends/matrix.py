"""Trainings that each backend of Keras must resume bit for bit: what is the same on all of them.

A backend's own file (on_jax.py, on_torch.py) runs these rows and those of its own, in a process that has no TensorFlow.
That of Keras 2 (on_keras_2.py) runs those that there are in it.
Each script is stopped by a real SIGTERM and started again: its ending is the undisturbed one's, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ...restarts import VALIDATION, Script, Stop, keras

layers = keras.layers
RNG = np.random.default_rng(0)
X = RNG.random((48, 4), "float32")
Y = X.sum(1, keepdims=True)
WITHIN: Stop = (1, 2)


def small() -> keras.Model:
    """With a seed generator and statistics."""
    hidden = [layers.Dense(6, "relu"), layers.BatchNormalization(), layers.Dropout(0.3)]
    return keras.Sequential([layers.Input((4,)), *hidden, layers.Dense(1)])


def script(
    make: Callable[[], keras.Model] = small,
    compiled: Callable[[], dict[str, Any]] = dict,
    data: Callable[[], dict[str, Any]] = lambda: {"x": X, "y": Y, "batch_size": 8},
    others: Callable[[], list[keras.callbacks.Callback]] = list,
) -> Script:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        model = make()
        model.compile(**{"optimizer": "adam", "loss": "mse", "metrics": ["mae"], **compiled()})
        return model, model.fit(epochs=3, verbose=0, callbacks=[*others(), *callbacks], **data())

    return run


def two_fits(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
    model = small()
    model.compile("adam", "mse")
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=callbacks)
    return model, model.fit(X, Y, batch_size=8, initial_epoch=2, epochs=4, verbose=0, callbacks=callbacks)


def drawn() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draws from NumPy's global generator."""
    for _ in range(30):
        x = np.random.random((8, 4)).astype("float32")
        yield x, x.sum(1, keepdims=True)


class Shuffled(getattr(keras.utils, "PyDataset", None) or keras.utils.Sequence):  # type: ignore[misc]
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.order = np.arange(48)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        chosen = self.order[index * 8 : index * 8 + 8]
        return X[chosen], Y[chosen]

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.order)


def accumulating() -> dict[str, Any]:
    settings = {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 3}
    return {"optimizer": keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 30), **settings)}


def with_policy(policy: str) -> Callable[[], keras.Model]:
    def make() -> keras.Model:
        keras.config.set_dtype_policy(policy)
        try:
            return small()
        finally:
            keras.config.set_dtype_policy("float32")

    return make


def validating() -> list[keras.callbacks.Callback]:
    plateau = keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=1.0)
    return [keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True), plateau]


def validated(data: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"x": X, "y": Y, "batch_size": 8, "validation_data": data()}


ROWS: dict[str, tuple[Script, list[Stop]]] = {
    "arrays in a shuffled order": (script(), [(0, 0), (1, 5)]),
    "arrays in their own order": (script(data=lambda: {"x": X, "y": Y, "shuffle": False}), [(1, 0)]),
    "arrays shuffled batch by batch": (
        script(data=lambda: {"x": X, "y": Y, "batch_size": 8, "shuffle": "batch"}),
        [WITHIN],
    ),
    "an epoch of a part of the arrays": (
        script(data=lambda: {"x": X, "y": Y, "batch_size": 8, "steps_per_epoch": 3}),
        [(1, 1), (2, 1)],
    ),
    "the first and the second of two fits": (two_fits, [WITHIN, (3, 1)]),
    "a generator": (script(data=lambda: {"x": drawn(), "steps_per_epoch": 6}), [(0, 1), WITHIN]),
    "a PyDataset": (script(data=lambda: {"x": Shuffled()}), [WITHIN, (1, 5)]),
    "validation, early stopping and a plateau": (
        script(data=validated(lambda: (X[:16], Y[:16])), others=validating),
        [(0, VALIDATION), WITHIN],
    ),
    "accumulated gradients, a moving average and a schedule": (script(compiled=accumulating), [WITHIN]),
    "half precision with a loss scale": (script(with_policy("mixed_float16")), [WITHIN]),
    "eager steps": (script(compiled=lambda: {"run_eagerly": True}), [WITHIN]),
}

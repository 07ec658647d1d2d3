"""Arrays, and what ``holdfast.dataset`` makes of them, for the conformance suite."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

import holdfast

from .conformance import INPUTS, NUMBERS, SAMPLES, SIZE, STEPS, Kind


def arrays(**fit: Any) -> dict[str, Any]:
    return {"x": INPUTS, "y": NUMBERS, "batch_size": SIZE, **fit}


def arrays_for_two_epochs(**fit: Any) -> dict[str, Any]:
    """With the suite's ``steps_per_epoch``."""
    return arrays(**{"batch_size": SAMPLES // (2 * STEPS), **fit})


def ours() -> Any:
    return holdfast.dataset(INPUTS, NUMBERS, batch_size=SIZE, seed=3)


def in_order() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((INPUTS, NUMBERS)).batch(SIZE)


KINDS = {
    "arrays": Kind(arrays, arrays_for_two_epochs),
    "arrays in their order": Kind(lambda: arrays(shuffle=False), lambda: arrays_for_two_epochs(shuffle=False)),
    "holdfast.dataset": Kind(lambda: {"x": ours()}, lambda: {"x": ours().repeat()}),
    "holdfast.dataset with a map": Kind(
        lambda: {"x": ours().map(lambda x, y: (2 * x, y))},
        lambda: {"x": ours().map(lambda x, y: (2 * x, y)).repeat()},
    ),
    "tf.data in a fixed order": Kind(lambda: {"x": in_order()}, lambda: {"x": in_order().repeat()}),
}

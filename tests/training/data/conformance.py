"""What holds for every kind of data that ``fit`` takes, however it is interrupted.

A kind makes what is given to ``fit``, as a script does at each start. It has SAMPLES samples, in BATCHES batches an
epoch. A row of the suite is a kind in a situation:

- ``check_identical``: seeded, an interrupted training ends as an undisturbed one does, bit for bit.
- ``check_complete``: seeded or not, each sample is trained on once in each epoch. The model counts them: a metric's
  state is part of a checkpoint, so what was drawn ahead and lost, or was trained on and is repeated, does not count.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np

import holdfast

from ..restarts import VALIDATION, Ended, Stop, assert_same, interrupted, once

SAMPLES, SIZE, BATCHES, EPOCHS = 50, 8, 7, 4
STEPS = 5  # of an epoch, where one iterator serves all of them
FIRST, LAST = 0, BATCHES - 1
INPUTS = np.random.default_rng(1).random((SAMPLES, 4), "float32")
NUMBERS = np.arange(SAMPLES, dtype="float32").reshape(-1, 1) / SAMPLES  # the targets: each tells its sample


@dataclass(frozen=True)
class Kind:
    """``make`` gives the arguments of ``fit``: ``x``, and what else belongs to such data. ``without_end`` gives data
    that serves all epochs with one iterator. ``but``: situations in which Keras itself counts a step that never was, or
    drops what was drawn ahead. ``only_seeded``: Keras draws from it before anybody can note from which state.
    """

    make: Callable[[], dict[str, Any]]
    without_end: Callable[[], dict[str, Any]] | None = None
    but: tuple[str, ...] = ()
    only_seeded: bool = False


@dataclass(frozen=True)
class Situation:
    """``fits``: calls of ``fit``; the last one is interrupted. ``validation``: with data of the same kind; ``shared``:
    with the very data of the training. ``scope`` is what the model is made in.
    """

    stops: tuple[Stop, ...]
    fits: int = 1
    validation: bool = False
    shared: bool = False
    one_iterator: bool = False
    compile: dict[str, Any] = field(default_factory=dict)
    fit: dict[str, Any] = field(default_factory=dict)
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext


SITUATIONS = {
    "in an epoch": Situation(((0, FIRST), (1, 3), (2, LAST))),  # its first batch, in the middle, its end
    "in the second of two fits": Situation(((0, 2), (1, LAST)), fits=2),
    "in validation": Situation(((0, VALIDATION), (2, 2)), validation=True),
    "in validation of the same data": Situation(((1, 2), (1, VALIDATION)), validation=True, shared=True),
    "with steps_per_epoch": Situation(((1, 4), (3, 1)), one_iterator=True, fit={"steps_per_epoch": STEPS}),
    # Keras numbers the second execution's last batch as if it were whole.
    "with four steps in an execution": Situation(((0, 3), (2, 7)), compile={"steps_per_execution": 4}),
}


class Amiss(keras.metrics.Metric):
    """How many samples did not come exactly once in this epoch."""

    def __init__(self) -> None:
        super().__init__(name="amiss")
        self.seen = self.add_variable((SAMPLES,), "zeros", name="seen")

    def reset_state(self) -> None:
        self.seen.assign(keras.ops.zeros((SAMPLES,)))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        numbers = keras.ops.cast(keras.ops.round(y_true[:, 0] * SAMPLES), "int32")
        self.seen.assign_add(keras.ops.sum(keras.ops.one_hot(numbers, SAMPLES), axis=0))

    def result(self) -> Any:
        return keras.ops.sum(keras.ops.cast(self.seen != 1, "float32"))


def check_identical(kind: Kind, situation: Situation, directory: Path) -> None:
    assert_same(_interrupted(kind, situation, directory), undisturbed(kind, situation))


def check_complete(kind: Kind, situation: Situation, directory: Path, seed: int | None) -> None:
    """A pass must be an epoch. ``seed``: the global one of the script, if it sets any."""
    history = _interrupted(kind, situation, directory, seed=seed).history
    assert history["amiss"] == [0.0] * EPOCHS
    assert history.get("val_amiss", [0.0] * EPOCHS) == [0.0] * EPOCHS


def random_stops(chance: random.Random, per_call: int = 1) -> tuple[Stop, ...]:
    """Two, in their order."""
    batches = [*range(per_call - 1, BATCHES, per_call)]
    places = [(epoch, batch) for epoch in range(EPOCHS) for batch in batches]
    return tuple(sorted(chance.sample(places, 2)))


def undisturbed(kind: Kind, situation: Situation) -> Ended:
    known = _KNOWN.get(key := (id(kind), id(situation)))
    if known is None:
        with TemporaryDirectory() as folder:
            known = _KNOWN[key] = once(_script(kind, situation, Path(folder)), Path(folder))
    return known


_KNOWN: dict[tuple[int, int], Ended] = {}


def _interrupted(kind: Kind, situation: Situation, directory: Path, **how: Any) -> Ended:
    return interrupted(_script(kind, situation, directory), directory, *situation.stops, **how)


def _script(kind: Kind, situation: Situation, directory: Path) -> Any:
    def run(callbacks: list[keras.callbacks.Callback]) -> tuple[keras.Model, Any]:
        make = kind.without_end if situation.one_iterator else kind.make
        assert make is not None
        with situation.scope():
            layers = [keras.layers.Input((4,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(1)]
            model, history = keras.Sequential(layers), None
            model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse", metrics=[Amiss()], **situation.compile)
        given = make()
        settings = {"epochs": EPOCHS, "verbose": 0, **situation.fit}
        if situation.validation:
            held_out = given if situation.shared else kind.make()
            settings["validation_data"] = (held_out["x"], held_out["y"]) if "y" in held_out else held_out["x"]
        for left in reversed(range(situation.fits)):
            mine = callbacks if not left else [holdfast.Resume(directory)]
            history = model.fit(**given, callbacks=mine, **settings)
        return model, history

    return run

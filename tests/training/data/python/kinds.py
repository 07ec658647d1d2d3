"""What Python feeds, for the conformance suite."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from ..conformance import BATCHES, INPUTS, NUMBERS, SAMPLES, SIZE, Kind


def batch_of(chosen: Any) -> tuple[np.ndarray, np.ndarray]:
    return INPUTS[chosen], NUMBERS[chosen]


def shuffling_generator() -> Iterator[Any]:
    """A new order for each pass, by NumPy's global state."""
    while True:
        order = np.random.permutation(SAMPLES)
        for number in range(BATCHES):
            yield batch_of(order[number * SIZE : (number + 1) * SIZE])


class InOrder(keras.utils.PyDataset):
    """Keras shuffles its batches, unless ``fit`` says otherwise."""

    def __len__(self) -> int:
        return BATCHES

    def __getitem__(self, index: int) -> Any:
        return batch_of(np.arange(SAMPLES)[index * SIZE : (index + 1) * SIZE])


class WithoutEnd(InOrder):
    @property
    def num_batches(self) -> None:
        return None

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index % BATCHES)


class ShufflesItsIndex(InOrder):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.index = np.arange(SAMPLES)
        self.on_epoch_end()

    def __getitem__(self, index: int) -> Any:
        return batch_of(self.index[index * SIZE : (index + 1) * SIZE])

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.index)


class ShufflesItsFiles(ShufflesItsIndex):
    """A list of texts, shuffled by Python's global state."""

    def __init__(self, **settings: Any) -> None:
        self.files = [f"/data/{n:02d}.png" for n in range(SAMPLES)]
        super().__init__(**settings)

    def __getitem__(self, index: int) -> Any:
        return batch_of([int(name[-6:-4]) for name in self.files[index * SIZE : (index + 1) * SIZE]])

    def on_epoch_end(self) -> None:
        random.shuffle(self.files)


class Augments(ShufflesItsIndex):
    """Draws from a generator of its own, and from NumPy's global one, for each batch; shuffles as an epoch begins."""

    def __init__(self, **settings: Any) -> None:
        self.mine = np.random.default_rng(7)
        super().__init__(**settings)

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x + self.mine.normal(size=x.shape) + np.random.normal(size=x.shape), y

    def on_epoch_begin(self) -> None:
        self.mine.shuffle(self.index)


outside = np.random.default_rng(7)


class DrawsFromItsModule(ShufflesItsIndex):
    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x + outside.normal(size=x.shape), y


def drawing_from_its_module(**settings: Any) -> DrawsFromItsModule:
    global outside
    outside = np.random.default_rng(7)
    return DrawsFromItsModule(**settings)


class TellsItsState(Augments):
    def get_state(self) -> Any:
        return {"index": self.index.copy(), "mine": self.mine.bit_generator.state}

    def set_state(self, state: Any) -> None:
        self.index[...] = state["index"]
        self.mine.bit_generator.state = state["mine"]


KINDS = {
    "generator": Kind(
        lambda: {"x": shuffling_generator(), "steps_per_epoch": BATCHES},
        lambda: {"x": shuffling_generator()},
        but=("in validation", "in the second of two fits"),
        only_seeded=True,
    ),
    "PyDataset in order": Kind(lambda: {"x": InOrder(), "shuffle": False}, lambda: {"x": WithoutEnd()}),
    "PyDataset shuffled by Keras": Kind(lambda: {"x": InOrder()}),
    "PyDataset that shuffles its index": Kind(lambda: {"x": ShufflesItsIndex()}),
    "PyDataset that shuffles its files": Kind(lambda: {"x": ShufflesItsFiles()}),
    "PyDataset that augments": Kind(lambda: {"x": Augments()}),
    "PyDataset that draws from its module": Kind(lambda: {"x": drawing_from_its_module()}),
    "PyDataset that tells its state": Kind(lambda: {"x": TellsItsState()}),
    "PyDataset with threads": Kind(lambda: {"x": ShufflesItsIndex(workers=2)}),
}

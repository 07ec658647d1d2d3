"""What Keras reads in the place of a ``PyDataset``: all of its batches, or those that are left of a pass."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...session.random_state import GENERATORS, of_torch, state_of
from .slots import Slots


class Batches:
    """Those of ``whole`` from number ``first`` on, in the order of ``places``, or their own.

    ``drew`` is set once making one has drawn from a global random generator, or one of ``generators``, in whatever
    thread or process. Processes receive a copy of this object, and find their own generators.
    """

    def __init__(
        self,
        whole: Any,
        drew: Any,
        generators: Sequence[Any],
        places: Sequence[int] | None = None,
        first: int = 0,
    ) -> None:
        self._whole = whole
        self._drew = drew
        self._generators: Sequence[Any] | None = generators
        self._places = places
        self._first = first

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_generators": None}

    def __getitem__(self, index: int) -> Any:
        number = index + self._first
        place = number if self._places is None else self._places[number]
        if self._drew.value:
            return self._whole[place]
        before = self._random_states()
        batch = self._whole[place]
        if self._random_states() != before:
            self._drew.value = 1
        return batch

    @property
    def num_batches(self) -> int | None:
        batches = self._whole.num_batches
        return None if batches is None else max(0, batches - self._first)

    def on_epoch_begin(self) -> None:
        self._whole.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._whole.on_epoch_end()

    def _random_states(self) -> list[Any]:
        if self._generators is None:
            found = [slot.get() for slot in Slots(self._whole).generators]
            self._generators = [
                one for one in found if isinstance(one, GENERATORS)
            ]  # others' frameworks may not run here
        of_all = [repr(random.getstate()), repr(np.random.get_state()), of_torch()]
        return [*of_all, *(repr(state_of(generator)) for generator in self._generators)]

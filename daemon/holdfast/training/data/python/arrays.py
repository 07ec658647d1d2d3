"""The position in arrays that Keras slices in Python, as it does on JAX.

Keras shuffles with NumPy's global generator as a pass begins (or, with ``shuffle="batch"``, at each batch). So the
state before the pass is kept, and what is done is sliced once more from there. Keras on JAX slices a batch ahead of the
training, but not on the CPU: of one that is sliced already the state before it is kept, too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ....core.errors import InvalidPair
from ...session import random_state
from .python_position import PythonPosition
from .rng_snapshots import StatesBefore


class ArraysPosition(PythonPosition):
    """``opens`` is the name of the adapter's method that opens a pass."""

    key = "arrays"
    way = "a number of batches, which are sliced again from NumPy's random state of before"

    def __init__(self, epoch_iterator: Any, opens: str) -> None:
        super().__init__(epoch_iterator)
        self._adapter = adapter = epoch_iterator.data_adapter
        self._opens = opens
        self._shuffles = bool(adapter._shuffle)
        self._began: Any = None  # NumPy's state as the pass began
        self._begins_with: Any = None
        self._notes = StatesBefore(self._surely_done)
        self._ahead: Any = None  # the state before the first batch that is not done
        self._first = 0  # its number
        batches = getattr(adapter, opens)
        setattr(adapter, opens, lambda: self._open(batches))

    @staticmethod
    def serves(epoch_iterator: Any) -> bool:
        adapter = getattr(epoch_iterator, "data_adapter", None)
        return type(adapter).__name__ == "ArrayDataAdapter" and hasattr(adapter, "_shuffle")

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        batch = self._batch(within_epoch, done)
        ahead = self._notes.states_before(batch).get("numpy") if batch else None
        mine = {"began": self._began if batch else None, "ahead": ahead}
        return {**super().facts(within_epoch, done), self.key: mine}

    def check(self, facts: Mapping[str, Any]) -> None:
        saved = facts.get(self.key, {})
        if not isinstance(saved, dict):
            raise InvalidPair("the .pkl's place in the arrays is malformed")
        for state in (saved.get("began"), saved.get("ahead")):
            if state is not None:
                random_state.check_state({**random_state.get_state(), "numpy": state})

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        super().begin_epoch(done, within, facts)
        saved = (facts or {}).get(self.key, {})
        self._begins_with = saved.get("began") if self._drawn + done else None
        self._ahead, self._first = saved.get("ahead"), self._drawn + done

    def release(self) -> None:
        vars(self._adapter).pop(self._opens, None)

    def _open(self, batches: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """A pass begins with its first batch."""
        if self._shuffles:
            states, begins_with, self._begins_with = random_state.get_state(), self._begins_with, None
            if begins_with is not None:
                random_state.set_state({**states, "numpy": begins_with})
            self._began = states["numpy"] if begins_with is None else begins_with
        yield from batches() if self._adapter._shuffle != "batch" else self._each(batches())

    def _each(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Each one draws its own order."""
        self._notes.begin_pass()
        for number in itertools.count():
            if number == self._first and self._ahead is not None:
                random_state.set_state({**random_state.get_state(), "numpy": self._ahead})
                self._ahead = None
            self._notes.before(number)
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield batch

"""The position in arrays that Keras slices in Python, as it does on JAX.

Keras shuffles with NumPy's global generator as a pass begins (or, with ``shuffle="batch"``, at each batch). So the
state before the pass is kept, and what is done is sliced once more from there: nothing else is drawn meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ....core.errors import InvalidPair
from ...session import random_state
from .python_position import PythonPosition


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
        batches = getattr(adapter, opens)
        setattr(adapter, opens, lambda: self._open(batches))

    @staticmethod
    def serves(epoch_iterator: Any) -> bool:
        adapter = getattr(epoch_iterator, "data_adapter", None)
        return type(adapter).__name__ == "ArrayDataAdapter" and hasattr(adapter, "_shuffle")

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        mine = {"began": self._began if self._batch(within_epoch, done) else None}
        return {**super().facts(within_epoch, done), self.key: mine}

    def check(self, facts: Mapping[str, Any]) -> None:
        saved = facts.get(self.key, {})
        if not isinstance(saved, dict):
            raise InvalidPair("the .pkl's place in the arrays is malformed")
        if (began := saved.get("began")) is not None:
            random_state.check_state({**random_state.get_state(), "numpy": began})

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        super().begin_epoch(done, within, facts)
        saved = (facts or {}).get(self.key, {})
        self._begins_with = saved.get("began") if self._drawn + done else None

    def release(self) -> None:
        vars(self._adapter).pop(self._opens, None)

    def _open(self, batches: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """A pass begins with its first batch."""
        if self._shuffles:
            states, begins_with, self._begins_with = random_state.get_state(), self._begins_with, None
            if begins_with is not None:
                random_state.set_state({**states, "numpy": begins_with})
            self._began = states["numpy"] if begins_with is None else begins_with
        yield from batches()

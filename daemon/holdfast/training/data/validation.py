"""What the data of a ``fit``'s validation keeps: each validation begins where the last one left it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .state import DataState
from .tf_data import all_parts
from .tf_random import draws_in_data


class ValidationData:
    """``data`` as ``fit`` was given it. ``variables`` are those that its functions use, by stable names.

    Nothing draws from it between two validations, so they are state like any other.
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        self._state = DataState(all_parts(data))

    @property
    def variables(self) -> Mapping[str, Any]:
        used = {**self._state.read_only, **self._state.written}
        return {f"validation {name}": variable for name, variable in used.items()}

    def unkept(self) -> Iterator[str]:
        """One line for each thing that is another in a resumed training."""
        if self._state.at_once:
            yield (
                "a function of the validation data draws from a seed generator for several batches at once, so no two "
                "runs see the same: map it without num_parallel_calls"
            )
        if draws := draws_in_data(self._data):
            yield (
                f"the validation data draws from tf.random ({', '.join(draws)}), and that state cannot be kept: after "
                "an interruption the validation sees other batches than it would have; tf.random.stateless_… gives the "
                "same numbers again"
            )

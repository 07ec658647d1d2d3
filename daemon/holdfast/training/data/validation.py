"""What the data of a ``fit``'s validation keeps: each validation begins where the last one left it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from . import dataset_passes
from .dataset_passes import pass_counter_of
from .pipeline_variables import DataState
from .python.python_position import has_strategy
from .python.validation import PythonValidation
from .tf.iterators import OpenedIterators, note_opened, opened, reach
from .tf.pipeline import advances_as_it_is_drawn, all_parts, is_ours, is_reordered_in_repeat, parts_of, shuffles_later
from .tf.tf_data_position import LOOKED_AT, READS_ON, is_drawn_ahead
from .tf_random import draws_in_data

_SHARED = READS_ON.format(
    "fit's data is its validation_data as well, and with steps_per_epoch the training keeps",
    "make a dataset for each",
)
_STEPS = READS_ON.format(
    "validation_data repeats itself, and with validation_steps each validation leaves",
    "leave out repeat() and validation_steps, or use take()",
)


class ValidationData:
    """``data`` as ``fit`` was given it, beside the training's ``x`` that ``epoch_iterator`` goes through.

    ``variables`` are those that its functions use, by stable names. Nothing draws from it between two validations, so
    they are state like any other. A pipeline of the script's own is known by how many iterators were opened: that
    many advanced the seeds of its shuffles.
    """

    def __init__(self, data: Any, x: Any, epoch_iterator: Any, say: Callable[[str], None]) -> None:
        self._data = data
        self._say = say
        self._state = DataState(all_parts(data))
        self._python = PythonValidation(data, epoch_iterator, say, x)
        self._counted = data if isinstance(data, tf.data.Dataset) and not is_ours(data) else None
        self._is_trainings = data is x  # then the training's position keeps the count
        self._counters = [one for part in parts_of(data) if (one := pass_counter_of(part)) is not None]
        self._is_reordered = bool(self._counters) or is_reordered_in_repeat(data)
        self._one_iterator = getattr(epoch_iterator, "steps_per_epoch", None) is not None
        self._is_drawn_ahead = is_drawn_ahead(data, epoch_iterator)
        self._opened: OpenedIterators | None = None
        self._looked = False  # Keras has drawn a batch of this validation's data, as a later process will once more

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
        elif self._state.written and self._is_drawn_ahead:
            yield LOOKED_AT.format("a function of the validation data")
        if self._is_trainings and self._is_reordered and self._one_iterator:
            yield _SHARED
        if draws := draws_in_data(self._data):
            yield (
                f"the validation data draws from tf.random ({', '.join(draws)}), and that state cannot be kept: after "
                "an interruption the validation sees other batches than it would have; tf.random.stateless_… gives the "
                "same numbers again"
            )

        if self._counted is not None and shuffles_later(self._counted):
            yield (
                "validation data that is concatenated behind other data has a shuffle of its own: after an "
                "interruption the next validations may see another order. Put shuffle() after concatenate()"
            )
        if self._counted is not None and advances_as_it_is_drawn(self._data):
            yield (
                "validation_data has a shuffle below its repeat(), or below another shuffle: after an interruption the "
                "next validations may see another order. Shuffle once, after repeat()"
            )

    def facts(self) -> dict[str, Any]:
        keeps = self._counted is not None and not self._is_trainings
        known = {"validation_opened": opened(self._counted)} if keeps else {}
        return {**self._python.facts(), **known, **({"passes": self._passes_before_look()} if self._looked else {})}

    def _passes_before_look(self) -> list[int]:
        passes, before = dataset_passes.counts(), self._python.passes_before
        for place in dataset_passes.places_of(self._counters):
            passes[place] = before[place]
        return passes

    def random_state(self) -> dict[str, Any]:
        """The global states before this validation; empty outside of one."""
        return self._python.random_state()

    def check(self, facts: Mapping[str, Any]) -> None:
        """As a pair is read. Raises InvalidPair."""
        self._python.check(facts)

    def restore_seeds(self, facts: Mapping[str, Any]) -> None:
        """Before the training's data: its state has the seeds that both share."""
        if self._counted is not None and not self._is_trainings:
            reach(self._counted, facts.get("validation_opened", 0))

    def restore(self, facts: Mapping[str, Any]) -> None:
        """As the first epoch after the checkpoint begins. Raises InvalidPair."""
        self._python.restore(facts)

    def begin(self, epoch_iterator: Any) -> None:
        """With Keras' iterator for validation, which has been reset just now."""
        self._python.begin(epoch_iterator)
        self._looked = epoch_iterator is not None and has_strategy(epoch_iterator)
        if getattr(epoch_iterator, "steps_per_epoch", None) is not None and is_reordered_in_repeat(self._data):
            self._say(_STEPS)
        if self._counted is not None and epoch_iterator is not None:
            if self._opened is None:
                self._opened = OpenedIterators(self._counted, epoch_iterator)
            elif self._looked:
                note_opened(self._counted, -1)

    def end(self) -> None:
        self._python.end()
        if self._looked and self._counted is not None:
            note_opened(self._counted)
        self._looked = False

    def release(self) -> None:
        """The ``fit`` is over: what Keras' objects were given is taken off."""
        self._python.release()
        if self._opened is not None:
            self._opened.release()

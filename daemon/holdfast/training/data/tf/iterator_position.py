"""The position in a ``tf.data`` pipeline of the script's own, and in arrays, of which Keras makes one.

A pair has the state of the iterator, where the pipeline has one: a new iterator that is set to it gives the next batch
at once. Where it has none, or takes too long to be taken, a new iterator draws the batches that are done once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from ..position import ignore, ignore_earlier
from ..python.python_position import is_distributed
from .iterators import KerasIterators
from .pipeline import ON_VARIABLES, Pipeline, advances_as_it_is_drawn, is_ours, shuffles_later
from .tf_data_position import DRAWN_AGAIN, TfDataPosition

_UNORDERED = (
    "the data's order depends on the speed of its threads (deterministic=False), so no two runs see the same: set "
    "deterministic=True"
)

_CACHED = (
    "the data is cached after it is shuffled, so that a process's first pass decides the order of all: after an "
    "interruption the next epochs may come in another one. Put cache() before shuffle()"
)

_OTHER_NUMBERS = (
    "resuming at the right batch, with each sample of the epoch once; but the data has no seed, and its functions draw "
    "random numbers or call Python: what they give is other than it would have been. tf.random.stateless_… with a seed "
    "gives the same"
)

_LATER = (
    "data that is concatenated behind other data has a shuffle of its own: after an interruption the next epochs may "
    "come in another order. Put shuffle() after concatenate()"
)


def order_that_is_lost(pipeline: Pipeline, shuffles_later: bool) -> str | None:
    """One line where no number of iterators and no state leads to the order that would have come; else None."""
    if not pipeline.is_ordered:
        return _UNORDERED
    if pipeline.caches_an_order:
        return _CACHED
    return _LATER if shuffles_later else None


class IteratorPosition(TfDataPosition):
    """``exact`` unless batches have to be drawn again: what comes then is compared with what came before."""

    may_draw_again = True

    def __init__(
        self, x: Any, epoch_iterator: Any, is_stopping: Callable[[], bool], say: Callable[[str], None]
    ) -> None:
        super().__init__(x, epoch_iterator)
        dataset = epoch_iterator._distributed_dataset
        self._of_arrays = not isinstance(x, tf.data.Dataset)
        self._pipeline = pipeline = Pipeline(dataset)
        self._shuffles_later = shuffles_later(dataset)
        self._is_plain = pipeline.is_ordered and (self._of_arrays or self._is_kept(pipeline.stateful))
        # Then opening as many iterators does not advance the seeds as drawing from them did.
        self._is_reordered = advances_as_it_is_drawn(dataset)
        self._iterators = KerasIterators(x, epoch_iterator, pipeline, is_stopping, say)
        self._over = False
        # Of batches of several replicas no digests are taken: where the seeds decide it all, they are the same.
        seeded = self._is_plain and not (pipeline.unseeded or self._is_reordered)
        self._same_again = is_distributed(epoch_iterator) and seeded
        self._exact = self._same_again or (self._is_plain and self._iterators.have_state)

    @staticmethod
    def serves(x: Any, epoch_iterator: Any) -> bool:
        """Not what is made of ours: its passes tell where it stands."""
        dataset = getattr(epoch_iterator, "_distributed_dataset", None)
        if isinstance(x, tf.data.Dataset):
            return dataset is not None and not is_ours(x)
        is_array = type(getattr(epoch_iterator, "data_adapter", None)).__name__ == "ArrayDataAdapter"
        return is_array and dataset is not None

    def _is_kept(self, stateful: Sequence[str]) -> bool:
        """Is it known what such operations give next? Those on variables begin again with what these had."""
        if not self._state.written:
            return not stateful
        return set(stateful) <= ON_VARIABLES and not (self._state.at_once or self._looked_at)

    @property
    def is_repeatable(self) -> bool:
        """Does each new iterator give the same batches, as seeds decide them?"""
        return self._is_plain and not (self._pipeline.unseeded or self._state.written)

    @property
    def exact(self) -> bool:
        return self._exact

    @property
    def way(self) -> str:
        return "the state of its iterator" if self._iterators.have_state else DRAWN_AGAIN

    @property
    def unkept(self) -> str | None:
        return order_that_is_lost(self._pipeline, self._shuffles_later) or super().unkept

    @property
    def verdict(self) -> str | None:
        draws = self._pipeline.is_ordered and not self._is_plain
        return _OTHER_NUMBERS if draws and self._needs_no_draws() else None

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        data = {"pass": 0, "batches": 0} if self._is_plain else None
        return {**super().facts(within_epoch, done), "data": data, **self._iterators.facts(within_epoch, done)}

    def difference(self, facts: Mapping[str, Any]) -> str | None:
        return None

    def restore(self, facts: Mapping[str, Any]) -> None:
        super().restore(facts)
        is_known = facts.get("iterator") is not None  # not in older pairs
        self._exact = is_known and (self._same_again or (self._is_plain and not facts["begun"]))
        if is_known and not facts["begun"]:
            is_set = self._iterators.restore(facts)
            self._exact = self._exact and (is_set or not self._is_reordered)

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        super().begin_epoch(done, within, facts)
        place = None if facts is None else facts.get("iterator")
        if facts is not None and place is not None and place["continues"]:
            # Variables are kept as they were when the iterator began: its batches lead to what they are at its end.
            self._over = place["over"] and (self._pipeline.unseeded or not self._state.written)
            is_set = self._iterators.begin(facts)
            self._exact = self._same_again or (self._over and self._is_plain and (is_set or not self._is_reordered))

    def begins_there(self) -> None:
        """Keras' next iterator begins with the first batch that is not done, and nothing has to be drawn again."""
        self._over = self._exact = True

    def catch_up(self, iterator: Any, look: Callable[[int, Any], None] = ignore_earlier) -> None:
        if self._needs_no_draws():
            self._to_draw = 0
        super().catch_up(iterator, look)

    def drop_batch(self, iterator: Any, look: Callable[[Any], None] = ignore) -> bool:
        return self._needs_no_draws() or super().drop_batch(iterator, look)

    def _needs_no_draws(self) -> bool:
        self._exact = self._exact or (self._is_plain and self._iterators.restored)
        return self._over or self._iterators.restored

    def release(self) -> None:
        super().release()
        self._iterators.release()

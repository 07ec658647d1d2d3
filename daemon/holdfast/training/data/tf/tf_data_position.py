"""The position in data that Keras iterates over as a ``tf.data.Dataset``, and how a later process gets there again.

Keras makes a new iterator for each epoch, or, with ``steps_per_epoch``, one that serves until the data is at its end.
Where the iterator stands follows from the passes that our datasets had begun before it, and the batches drawn from it.
A new iterator gets there by drawing these batches once more and dropping them. Whole rounds of what repeats in a fixed
order are left out. Where batches are just as ``holdfast.dataset`` made them, the dropped ones come as zeros: nothing is
read for them.

The data is looked at as the graph of ``tf.data`` transformations that it is (``Dataset._inputs``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from ....core.wording import count
from .. import dataset_passes
from ..dataset_passes import pass_counter_of
from ..pipeline_variables import DataState, chain_of
from ..position import ignore, ignore_earlier
from ..python.python_position import has_strategy, is_distributed
from ..tf_random import calls_python, differs_from_itself, draws_in_data
from ..waits_for_batch import awaited
from .iterators import is_left, note_left
from .pipeline import SAME_BATCHES, SAME_ORDER, all_parts, is_reordered_in_repeat, kind_of, parts_of, round_of

DRAWN_AGAIN = "a number of batches, which are drawn again"
LOOKED_AT = (
    "{} draws from a seed generator, and under a distribution strategy Keras takes a batch of its own while others are "
    "drawn ahead, so no two runs see the same, and this is not kept: draw by tf.random.stateless_… in it, or in the "
    "model"
)
READS_ON = (
    "{} an iterator over it that reads on meanwhile; each pass that one begins makes the order of the next another "
    "one, so no two runs see the same, and this is not kept: {}"
)
_LEFT = READS_ON.format("fit's data has been given to an earlier fit, which left", "make the data anew for each fit")


def is_drawn_ahead(data: Any, epoch_iterator: Any) -> bool:
    """Does an unknown number of batches follow the one that Keras takes before a ``fit``, or a validation?"""
    fetches = any(kind_of(part) == "PrefetchDataset" or pass_counter_of(part) is not None for part in parts_of(data))
    return has_strategy(epoch_iterator) and (fetches or is_distributed(epoch_iterator))


class TfDataPosition:
    """The data of one ``fit``, and Keras' iteration over it: a DataPosition.

    ``exact`` says whether a resumed training sees the batches that an undisturbed one sees. ``behind`` is set while
    Keras' new iterator is not yet where the one of an earlier process was as the epoch began.
    """

    may_draw_again = False

    def __init__(self, x: Any, epoch_iterator: Any) -> None:
        self._x = x
        parts = list(parts_of(x))
        self._counters = [counter for part in parts if (counter := pass_counter_of(part)) is not None]
        kinds = {kind_of(part) for part in parts if pass_counter_of(part) is None}
        self._state = DataState(all_parts(x))
        self._cheap = len(self._counters) == 1 and self._counters[0].batches > 0 and kinds <= SAME_BATCHES
        self._cheap = self._cheap and not self._state.written
        self._round = 0 if self._state.written else self._counters[0].batches if self._cheap else round_of(parts)
        self._looked_at = bool(self._state.written) and is_drawn_ahead(x, epoch_iterator)
        self._reads_on = is_left(x) and is_reordered_in_repeat(x)
        same = not (self._state.at_once or self._looked_at or self._reads_on)
        self._is_ours = bool(self._counters) and kinds <= SAME_ORDER and same
        self._draws = sorted(
            {one for part in parts if pass_counter_of(part) is not None for one in draws_in_data(part)}
        )
        made = [one for part in parts if hasattr(part, "holdfast_pass") for one in chain_of(part.holdfast_pass)]
        self._mapped = [one for part in parts if (one := getattr(part, "holdfast_one_batch", None)) is not None]
        theirs = [part for part in [*parts, *made] if pass_counter_of(part) is None]
        functions = (one for part in theirs if isinstance(part, tf.data.Dataset) for one in part._functions())
        self.calls_python = any(map(calls_python, functions))
        self._begins_at_once = not kinds & {"RepeatDataset", "ConcatenateDataset"}
        self.behind = False
        self.is_awaited = awaited(epoch_iterator)
        self._keras = epoch_iterator
        self._one_iterator = getattr(epoch_iterator, "steps_per_epoch", None) is not None
        self._began = self._next_passes()
        self._state_began = self._state.values()
        self._passes: Sequence[int] | None = None
        self._places: Sequence[int] = []
        self._drawn = 0
        self._to_draw = 0

    @property
    def exact(self) -> bool:
        return self._is_ours

    @property
    def way(self) -> str:
        return "the passes of holdfast.dataset" if self._is_ours else DRAWN_AGAIN

    @property
    def read_only(self) -> Mapping[str, Any]:
        """Variables that the data's functions read, by stable names. Others change them."""
        return self._state.read_only

    @property
    def written(self) -> Sequence[Any]:
        """Variables that the data's functions change as batches are drawn: ``facts`` has them."""
        return list(self._state.written.values())

    @property
    def unkept(self) -> str | None:
        if self._reads_on:
            return _LEFT
        if self._draws:
            return (
                f"the map of holdfast.dataset draws from tf.random ({', '.join(self._draws)}) for several batches at "
                "once, so no two runs see the same, and this is not kept: take its keyword seed, for "
                "tf.random.stateless_…"
            )
        if not self._state.written and any(differs_from_itself(one_batch()) for one_batch in self._mapped):
            return (
                "the map of holdfast.dataset calls Python code that draws random numbers for several batches at once, "
                "so no two runs see the same, and this is not kept: take its keyword seed, as in "
                "np.random.default_rng(seed)"
            )
        if not self._state.at_once:
            return LOOKED_AT.format("a function of the data") if self._looked_at else None
        return (
            "a function of the data draws from a seed generator for several batches at once, so no two runs see the "
            "same, and this is not kept: map it without num_parallel_calls"
        )

    @property
    def verdict(self) -> str | None:
        return None

    def random_state(self, within_epoch: bool, done: int) -> dict[str, Any]:
        return {}

    def check(self, facts: Mapping[str, Any]) -> None:
        self._state.check(facts.get("data_state", {}))

    def restore(self, facts: Mapping[str, Any]) -> None:
        """All datasets' passes as ``facts`` recorded them, and where in the data the next iterator begins."""
        self._set_passes(facts.get("passes", ()), facts.get("places", ()))
        self._state.assign(facts.get("data_state", {}))
        if "passes" not in facts:  # an older pair
            self._rewind(facts)
        self._drawn = int(facts["drawn"]) if self._one_iterator else 0

    def difference(self, facts: Mapping[str, Any]) -> str | None:
        """One line if a dataset of ours has another number of batches than it had for the pair."""
        had = (facts.get("data") or {}).get("batches", 0)
        has = self._counters[0].batches if self._counters else 0
        if not had or not has or had == has:
            return None
        batches = count(has, "batch", "batches")
        return f"the data has {batches}, and had {had} when the checkpoint was made: the result may differ"

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        self.behind = facts is not None and self._drawn > 0
        # All passes of such an iterator are begun with its first batch: what has begun since was begun by others.
        tells = facts is not None and within and self._begins_at_once and not self._one_iterator
        self._passes = facts.get("passes") if facts is not None and tells else None
        self._places = [] if facts is None else facts.get("places", [])
        if facts is not None and (within or self._drawn):
            self._rewind(facts)
        if self.behind or not self._drawn:
            self._begin_iterator(done)

    def _rewind(self, facts: Mapping[str, Any]) -> None:
        """To where the pair's iterator began, whatever callbacks drew since."""
        self._set_passes(facts.get("passes", ()), facts.get("places", ()))
        self._state.assign(facts.get("data_state", {}))
        place = facts.get("data")
        began = facts.get("began", [] if place is None else [place["pass"]])
        for counter, number in zip(self._counters, began, strict=False):
            counter.resume_at(int(number))

    def _set_passes(self, passes: Sequence[int], places: Sequence[int]) -> None:
        """A script that skips what is done makes fewer datasets than before: this fit's tell which are which."""
        now, then = dataset_passes.places_of(self._counters)[:1], places[:1]
        dataset_passes.set_counts(passes, *(now[0], then[0]) if now and then else ())

    def _begin_iterator(self, done: int) -> None:
        self._began = self._next_passes()
        self._state_began = self._state.values()
        self._to_draw = self._drawn
        if self._round:
            whole, self._to_draw = divmod(self._drawn, self._round)
            for counter in self._counters:
                counter.resume_at(counter.next_pass + whole, self._to_draw + done if self._cheap else 0)

    def catch_up(self, iterator: Any, look: Callable[[int, Any], None] = ignore_earlier) -> None:
        """Draws what earlier epochs drew from Keras' iterator, and sets Keras' count of what was drawn."""
        self.behind = False
        size = self._keras._num_batches or self._drawn + 1  # more than that are not drawn from one iterator
        to_draw = self._to_draw % size
        for before in range(to_draw, 0, -1):
            if not self.drop_batch(iterator, partial(look, before)):
                break
        self._keras._steps_seen += self._drawn % size

    def drop_batch(self, iterator: Any, look: Callable[[Any], None] = ignore) -> bool:
        try:
            batch = next(iterator)
        except (StopIteration, tf.errors.OutOfRangeError):
            return False
        look(batch)
        return True

    def caught_up(self) -> None:
        """No batch comes empty from here on, even if there were fewer to drop than there should have been."""
        for counter in self._counters:
            counter.resume_at(counter.next_pass)
        if self._passes is not None:
            self._set_passes(self._passes, self._places)

    def end_epoch(self) -> None:
        """Keras' iterator serves the next epoch too, unless it was at its end: then it is a new one by now, or none."""
        continues = self._one_iterator and self._keras._current_iterator is not None
        self._drawn = int(self._keras._steps_seen) if continues else 0

    def release(self) -> None:
        keras = self._keras
        if (
            self._one_iterator
            and keras._current_iterator is not None
            and keras._steps_seen
            and isinstance(self._x, tf.data.Dataset)
        ):
            note_left(self._x)

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        """Where the data stands, as plain values."""
        within = within_epoch or self._drawn > 0
        began = self._began if within else self._next_passes()
        state = self._state_began if within else self._state.values()
        data = {"pass": began[0], "batches": self._counters[0].batches} if self._is_ours else None
        return {
            "data": data,
            "began": began,
            "drawn": self._drawn,
            "passes": dataset_passes.counts(),
            "places": dataset_passes.places_of(self._counters),
            "data_state": state,
        }

    def _next_passes(self) -> list[int]:
        return [counter.next_pass for counter in self._counters]

"""The position in data that Keras iterates over as a ``tf.data.Dataset``, and how a later process gets there again.

Keras makes a new iterator for each epoch, or, with ``steps_per_epoch``, one that serves until the data is at its end.
Where the iterator stands follows from the passes that our datasets had begun before it, and the batches drawn from it.
A new iterator gets there by drawing these batches once more and dropping them. Whole rounds of what repeats in a fixed
order are left out. Where batches are just as ``holdfast.dataset`` made them, the dropped ones come as zeros: nothing is
read for them.

The data is looked at as the graph of ``tf.data`` transformations that it is (``Dataset._inputs``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from ...core.wording import count
from . import dataset_passes
from .dataset import pass_counter_of
from .position import ignore, ignore_earlier
from .state import DataState, chain_of
from .tf_random import calls_python, draws_in_data
from .waits_for_batch import awaited

# Each batch of ours comes out as it went in, and passes follow upon each other whole.
_SAME_BATCHES = {"RepeatDataset", "PrefetchDataset", "OptionsDataset", "AssertCardinalityDataset"}
# The same passes give the same batches. A shuffle's order, or what is in a cache, is beyond us.
_SAME_ORDER = _SAME_BATCHES | {
    "BatchDataset",
    "ConcatenateDataset",
    "FilterDataset",
    "MapDataset",
    "PaddedBatchDataset",
    "ParallelBatchDataset",
    "ParallelMapDataset",
    "RangeDataset",
    "RebatchDataset",
    "RestructuredDataset",
    "ShardDataset",
    "SkipDataset",
    "TakeDataset",
    "TensorDataset",
    "TensorSliceDataset",
    "UnbatchDataset",
    "VariantDataset",
    "WindowDataset",
    "ZipDataset",
}

_JOINED = {"ConcatenateDataset", "ZipDataset"}


class TfDataPosition:
    """The data of one ``fit``, and Keras' iteration over it: a DataPosition.

    ``exact`` says whether a resumed training sees the batches that an undisturbed one sees. ``behind`` is set while
    Keras' new iterator is not yet where the one of an earlier process was as the epoch began.
    """

    def __init__(self, x: Any, epoch_iterator: Any) -> None:
        parts = list(_parts(x, set()))
        self._counters = [counter for part in parts if (counter := pass_counter_of(part)) is not None]
        kinds = {_kind(part) for part in parts if pass_counter_of(part) is None}
        self._state = DataState(all_parts(x))
        self._cheap = len(self._counters) == 1 and self._counters[0].batches > 0 and kinds <= _SAME_BATCHES
        self._cheap = self._cheap and not self._state.written
        self._round = 0 if self._state.written else self._counters[0].batches if self._cheap else _round_of(parts)
        self.exact = bool(self._counters) and kinds <= _SAME_ORDER and not self._state.at_once
        self._draws = sorted(
            {one for part in parts if pass_counter_of(part) is not None for one in draws_in_data(part)}
        )
        made = [one for part in parts if hasattr(part, "holdfast_pass") for one in chain_of(part.holdfast_pass)]
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
    def read_only(self) -> Mapping[str, Any]:
        """Variables that the data's functions read, by stable names. Others change them."""
        return self._state.read_only

    @property
    def written(self) -> Sequence[Any]:
        """Variables that the data's functions change as batches are drawn: ``facts`` has them."""
        return list(self._state.written.values())

    @property
    def unkept(self) -> str | None:
        if self._draws:
            return (
                f"the map of holdfast.dataset draws from tf.random ({', '.join(self._draws)}) for several batches at "
                "once, so no two runs see the same, and this is not kept: take its keyword seed, for "
                "tf.random.stateless_…"
            )
        if not self._state.at_once:
            return None
        return (
            "a function of the data draws from a seed generator for several batches at once, so no two runs see the "
            "same, and this is not kept: map it without num_parallel_calls"
        )

    @property
    def verdict(self) -> str | None:
        return None

    def random_state(self, within_epoch: bool, done: int) -> dict[str, Any]:
        return {}

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

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        """Where the data stands, as plain values."""
        within = within_epoch or self._drawn > 0
        began = self._began if within else self._next_passes()
        state = self._state_began if within else self._state.values()
        data = {"pass": began[0], "batches": self._counters[0].batches} if self.exact else None
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


def _round_of(parts: list[Any]) -> int:
    """The batches of one round, if the data is a chain that repeats in a fixed order and begins ours once a round; else
    0.
    """
    chain = [part for part in parts if pass_counter_of(part) is None]
    kinds = [_kind(part) for part in chain]
    if kinds.count("RepeatDataset") != 1 or not set(kinds) <= _SAME_ORDER - _JOINED:
        return 0
    outer = kinds.index("RepeatDataset")
    if not set(kinds[:outer]) <= _SAME_BATCHES:
        return 0
    return max(0, int(chain[outer]._inputs()[0].cardinality()))


def _kind(part: Any) -> str:
    return type(part).__name__.lstrip("_")


def all_parts(x: Any) -> Iterator[Any]:
    """Those that ours are made of too; of a function of passes, the first one."""
    for part in _parts(x, set()):
        counted = pass_counter_of(part) is not None
        within = getattr(part, "holdfast_pass", part)
        yield from chain_of(within) if counted and isinstance(within, tf.data.Dataset) else (part,)


def _parts(x: Any, seen: set[int]) -> Iterator[Any]:
    """The datasets that ``x`` is made of, each once; what ours are made of is not looked at."""
    x = getattr(x, "_original_dataset", x)  # of a distributed one
    if id(x) in seen:
        return
    seen.add(id(x))
    yield x
    if isinstance(x, tf.data.Dataset) and pass_counter_of(x) is None:
        for one in x._inputs():
            yield from _parts(one, seen)

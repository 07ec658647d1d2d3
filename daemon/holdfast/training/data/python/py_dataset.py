"""The position in a ``keras.utils.PyDataset``: batches that are done are not made again, as each is asked for by its
number.

What such an object changed in itself is kept (object_state.py) as it was when the epoch began: a resumed ``fit`` calls
``on_epoch_begin`` and ``on_epoch_end`` as the first one did. What making batches changed (random generators, counters)
is set to what it was before the first batch that was not trained on.
"""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ....core.errors import InvalidPair
from ...pair.plain import to_plain
from ...session import random_state
from ..position import ignore
from .batches import Batches
from .object_state import state_in
from .python_position import PythonPosition, has_strategy, is_distributed
from .rng_snapshots import StatesBefore

_PARTS = ("object", "drawn", "random")
_SEVERAL = (
    "making a batch of the PyDataset draws random numbers, and its workers make several at once, so no two runs see "
    "the same: give it workers=1, or let __getitem__ draw from np.random.default_rng([seed, index])"
)
_DISTRIBUTED = (
    "under a distribution strategy the place in a PyDataset with workers is not kept exactly, as its next pass begins "
    "before an epoch ends: give it workers=1"
)
_DROPPED = (
    "making a batch of the PyDataset draws random numbers, and under a distribution strategy Keras drops some batches "
    "as fit begins, as many as its threads had time to make, so no two runs see the same: let __getitem__ draw from "
    "np.random.default_rng([seed, index])"
)
_AHEAD = (
    "the PyDataset changes in on_epoch_end while Keras reads on ahead in it, so no two runs see the same batches: "
    "leave out steps_per_epoch, or do not change it there"
)


class PyDatasetPosition(PythonPosition):
    """``say`` receives what is not exact, at each start."""

    key = "py_dataset"
    way = "what the PyDataset changed in itself"

    def __init__(self, dataset: Any, epoch_iterator: Any, say: Callable[[str], None]) -> None:
        super().__init__(epoch_iterator)
        self._dataset = dataset
        self._say = say
        self._adapter = adapter = epoch_iterator.data_adapter
        self._workers, self._shuffle = adapter.enqueuer, adapter.shuffle
        self._state = state_in(dataset, say)
        self._notes = StatesBefore(self._surely_done, lambda: {"object": self._state.small()})
        self._object_began = self._state.read()
        self._random_began = random_state.get_state()
        self._ended: dict[str, Any] | None = None  # the states before ``on_epoch_end``, once that was called
        self._shuffled: Any = None  # Python's random state from which Keras shuffled this pass
        self._saved: Mapping[str, Any] = {}
        self._done = self._dropped = 0
        self._drew = multiprocessing.RawValue("b", 0)
        if self._workers is not None and is_distributed(epoch_iterator):
            self.unkept = _DISTRIBUTED
        self._drops = has_strategy(epoch_iterator)
        self._wrap(adapter)
        self._feed_whole()

    @staticmethod
    def serves(epoch_iterator: Any) -> bool:
        """Not with workers and a pass over several epochs: Keras begins it anew in the midst of it."""
        adapter: Any = getattr(epoch_iterator, "data_adapter", None)
        if not all(hasattr(adapter, name) for name in ("py_dataset", "enqueuer", "_finite_generator", "shuffle")):
            return False
        steps, batches = epoch_iterator.steps_per_epoch, adapter.num_batches
        return adapter.enqueuer is None or steps is None or steps == batches

    # --- what a pair keeps

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        self._name_what_is_not_exact()
        now = self._state.small() if within_epoch and done else {}  # first: a draw may begin meanwhile, and is noted
        mine = {
            "object": self._object_began if within_epoch else self._state.read(),
            "drawn": self._before(within_epoch, done).get("object", now),
            "shuffled": None if self._shuffled is None else to_plain(self._shuffled),
        }
        if within_epoch:
            mine["random"] = self._random_began
        return {**super().facts(within_epoch, done), self.key: mine}

    def random_state(self, within_epoch: bool, done: int) -> dict[str, Any]:
        before = self._before(within_epoch, done)
        return {key: state for key, state in before.items() if key != "object"}

    def _before(self, within_epoch: bool, done: int) -> dict[str, Any]:
        """The states from which the next batch is made; empty if they are those of now."""
        batch = self._batch(within_epoch, done)
        noted = {} if batch is None else self._notes.states_before(batch)
        if not within_epoch:
            return noted
        if not done:  # ``on_epoch_begin`` is called again
            return noted if self._drawn and noted else self._random_began
        if self._ended is None:
            return noted
        batches = self._dataset.num_batches
        goes_on = batch is not None and (batches is None or batch < batches)
        return noted if goes_on and noted else self._ended

    def _name_what_is_not_exact(self) -> None:
        several = bool(self._drew.value) and self._workers is not None
        dropped = bool(self._drew.value) and self._drops
        if several or dropped or (self._drawn and self._state.changes):
            self.exact = False
            self._say(_SEVERAL if several else _DROPPED if dropped else _AHEAD)

    # --- the way back

    def check(self, facts: Mapping[str, Any]) -> None:
        """What making batches changed is set at the end of the way back: too late to find that it cannot be."""
        saved = _checked(facts.get(self.key, {}))
        for part in ("object", "drawn"):
            self._state.check(saved.get(part, {}))
        if "random" in saved:
            random_state.check_state(saved["random"])
        if saved.get("shuffled") is not None:
            _generator_at(saved["shuffled"])

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Also of a ``fit`` that is over: a later one may be given the same object."""
        super().restore(facts)
        self._state.put(_checked(facts.get(self.key, {})).get("object", {}))

    def as_it_is(self, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same facts of an object that was changed since they were restored."""
        return {**facts, self.key: {**_checked(facts.get(self.key, {})), "object": self._state.read()}}

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        super().begin_epoch(done, within, facts)
        self._saved = saved = _checked((facts or {}).get(self.key, {}))
        self._state.put(saved.get("object", {}))
        if within and "random" in saved:
            random_state.set_state(saved["random"])
        self._object_began, self._random_began, self._ended = self._state.read(), random_state.get_state(), None
        known = facts is not None and not self._of_older_version
        self._dropped, self._done = 0, self._drawn + done if known else 0
        if not self._drawn:
            self._shuffled = None
            self._notes.begin_pass()
        if self._done:
            self._feed_rest(self._done)
        self._name_what_is_not_exact()

    def drop_batch(self, iterator: Any, look: Callable[[Any], None] = ignore) -> bool:
        """Nothing is drawn: the pass begins where the training is."""
        if self._of_older_version:
            return super().drop_batch(iterator, look)
        batches = self._dataset.num_batches
        self._dropped += 1
        return batches is None or self._dropped <= batches

    def caught_up(self) -> None:
        self._state.put(self._saved.get("drawn", {}))

    # --- what Keras calls

    def _wrap(self, adapter: Any) -> None:
        begins, ends = adapter.on_epoch_begin, adapter.on_epoch_end
        finite, infinite = adapter._finite_generator, adapter._infinite_generator

        def on_epoch_begin() -> None:
            if self._workers is not None and self._workers.shuffle:
                self._shuffled = random.getstate()
            begins()

        def on_epoch_end() -> None:
            self._ended = {**random_state.get_state(), "object": self._state.small()}
            ends()
            if self._workers is not None:
                self._feed_whole()

        adapter.on_epoch_begin, adapter.on_epoch_end = on_epoch_begin, on_epoch_end
        adapter._finite_generator = lambda: self._open(finite)
        adapter._infinite_generator = lambda: self._open(infinite)

    def release(self) -> None:
        for name in ("on_epoch_begin", "on_epoch_end", "_finite_generator", "_infinite_generator"):
            vars(self._adapter).pop(name, None)
        self._feed(self._dataset, self._shuffle)

    def _open(self, batches: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """A pass without workers begins, in a thread of TensorFlow's."""
        number, self._done = self._done, 0
        if not number:
            self._feed_whole()
            self._shuffled = random.getstate() if self._shuffle else None
        source = batches()
        while True:
            self._notes.before(number)
            try:
                batch = next(source)
            except StopIteration:
                return
            number += 1
            yield batch

    def _feed_whole(self) -> None:
        is_watched = self._workers is not None or self._drops
        whole = Batches(self._dataset, self._drew, self._state.generators) if is_watched else self._dataset
        self._feed(whole, self._shuffle)

    def _feed_rest(self, done: int) -> None:
        """In the order in which Keras shuffled them."""
        places = None
        if self._shuffle and self._saved.get("shuffled") is not None and self._dataset.num_batches is not None:
            chance = _generator_at(self._saved["shuffled"])
            self._shuffled = chance.getstate()
            chance.shuffle(places := list(range(self._dataset.num_batches)))
        self._feed(Batches(self._dataset, self._drew, self._state.generators, places, done), shuffle=False)

    def _feed(self, batches: Any, shuffle: bool) -> None:
        self._adapter.py_dataset, self._adapter.shuffle = batches, shuffle
        if self._workers is not None:
            self._workers.py_dataset, self._workers.shuffle = batches, shuffle


def _generator_at(state: Any) -> random.Random:
    """Raises InvalidPair."""
    try:
        random_state.set_state_of(chance := random.Random(), state)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidPair(f"the .pkl's state of the PyDataset is malformed: {error}") from None
    return chance


def _checked(saved: Any) -> Mapping[str, Any]:
    """Raises InvalidPair."""
    whole = isinstance(saved, dict) and all(isinstance(saved.get(part, {}), dict) for part in _PARTS)
    if not whole:
        raise InvalidPair("the .pkl's state of the PyDataset is malformed")
    return dict(saved)

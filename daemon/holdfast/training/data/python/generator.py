"""The position in a Python generator: it is drawn from once more, from its beginning.

Keras draws its first batches as ``fit`` begins, to see their shapes, and each pass through the data gives these again
before it draws on. A generator cannot be set to a place. So a later process draws what is done from its own one, with
the global random states as they were, before the first batch that it trains on.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ....core.errors import InvalidPair
from ...session import random_state
from ..position import ignore
from .python_position import PythonPosition, is_distributed
from .rng_snapshots import DrawNotes, check_notes

_given: weakref.WeakSet[Any] = weakref.WeakSet()


class GeneratorSource:
    """Stands between the generator and Keras, and counts: ``drawn`` batches in all, ``began`` before this pass.

    Keras calls ``open`` in a thread of TensorFlow's for each pass. ``skip`` and ``draw_until`` are for the training
    thread, before a pass is opened.
    """

    def __init__(
        self,
        generator: Iterator[Any],
        first: Sequence[Any],
        steps_seen: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self.began = self.drawn = len(first)
        self.notes = DrawNotes(lambda: self.number_of(steps_seen()), say)
        self._generator = generator
        self._first = first
        self._skipped = 0
        for number, batch in enumerate(first):
            self.notes.look(number, batch)

    def number_of(self, batch: int) -> int:
        """Of the first draw that a pass needs after so many batches."""
        return self.began + max(0, batch - len(self._first))

    def begin_pass(self) -> None:
        self.began, self._skipped = self.drawn, 0

    def open(self) -> Iterator[Any]:
        skipped, self._skipped = self._skipped, 0
        yield from self._first[skipped:]
        while True:
            self.notes.before(self.drawn)
            try:
                batch = next(self._generator)
            except StopIteration:
                return
            self.notes.after(self.drawn, batch)
            self.drawn += 1
            yield batch

    def draw_until(self, drawn: int) -> bool:
        """Draws once more what an earlier process drew. False if the generator ends before."""
        while self.drawn < drawn:
            self.notes.before_again(self.drawn)
            try:
                batch = next(self._generator)
            except StopIteration:
                return False
            self.notes.after_again(self.drawn, batch)
            self.drawn += 1
        return True

    def skip(self) -> bool:
        """One batch of the pass that is opened next. False if there is none."""
        if not self.draw_until(self.number_of(self._skipped + 1)):
            return False
        self._skipped += 1
        return True

    def facts(self, batch: int | None) -> dict[str, Any]:
        """``batch`` batches of this pass are done; None: the next one has not begun."""
        began, number = (self.drawn, self.drawn) if batch is None else (self.began, self.number_of(batch))
        return {"began": began, **self.notes.facts(number)}

    def restore(self, facts: Mapping[str, Any], batch: int) -> None:
        """To the beginning of the pass of which so many batches are done. Raises InvalidPair."""
        first = self.notes.facts(len(self._first))
        self.notes.restore(facts)
        if batch < len(self._first):  # of those that Keras has drawn already, some are to be trained on
            self.notes.compare(first["digests"])
        self.draw_until(_began(facts))
        self.begin_pass()


class GeneratorPosition(PythonPosition):
    """What is done is drawn again here, before TensorFlow draws ahead."""

    key = "generator"
    way = "a number of batches, which are drawn again with the random states of each draw"

    def __init__(self, generator: Any, epoch_iterator: Any, say: Callable[[str], None]) -> None:
        super().__init__(epoch_iterator)
        self._adapter = adapter = epoch_iterator.data_adapter
        self._keras_own = adapter.generator
        self._source = GeneratorSource(generator, adapter._first_batches, self._surely_done, say)
        adapter.generator = self._source.open
        self._there = 0  # batches that are done and were drawn again
        if generator in _given:
            self.unkept = _GIVEN_BEFORE
        elif is_distributed(epoch_iterator):
            self.unkept = _DISTRIBUTED
        _given.add(generator)

    @staticmethod
    def serves(adapter: Any) -> bool:
        return callable(getattr(adapter, "generator", None)) and hasattr(adapter, "_first_batches")

    @property
    def verdict(self) -> str | None:  # type: ignore[override]
        return _OTHER if self._source.notes.differs else None

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        mine = self._source.facts(self._batch(within_epoch, done))
        return {**super().facts(within_epoch, done), self.key: mine}

    def check(self, facts: Mapping[str, Any]) -> None:
        if (saved := facts.get(self.key)) is None:
            return
        _began(saved)
        check_notes(saved)

    def random_state(self, within_epoch: bool, done: int) -> dict[str, Any]:
        batch = self._batch(within_epoch, done)
        return {} if batch is None else self._source.notes.states_before(self._source.number_of(batch))

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        super().begin_epoch(done, within, facts)
        batches = self._drawn + done
        before = random_state.get_state()
        if facts is not None and self.key in facts:
            self._source.restore(facts[self.key], batches)
        elif not self._drawn:
            self._source.begin_pass()
        if facts is not None:  # before Keras opens an iterator, which may draw at once
            self._there = sum(itertools.takewhile(bool, (self._source.skip() for _ in range(batches))))
            random_state.set_state(before)
        self.exact = self.exact and not self._source.notes.differs

    def drop_batch(self, iterator: Any, look: Callable[[Any], None] = ignore) -> bool:
        self._there -= 1
        return self._there >= 0

    def release(self) -> None:
        self._adapter.generator = self._keras_own


def _began(facts: Mapping[str, Any]) -> int:
    """Raises InvalidPair."""
    if type(began := facts.get("began")) is not int or began < 0:
        raise InvalidPair("the .pkl's place in the generator is malformed")
    return began


_GIVEN_BEFORE = (
    "the generator was given to an earlier fit too, and where that one left it is not kept: make a new one for each fit"
)
_DISTRIBUTED = (
    "under a distribution strategy the place in a Python generator is not kept exactly, as TensorFlow draws from it "
    "before fit begins: give a keras.utils.PyDataset"
)
_OTHER = (
    "resuming at the right batch, but the generator gives other batches than it gave before, so some samples may be "
    "seen twice and others not at all: seed what it draws from (keras.utils.set_random_seed(…) at the script's start, "
    "or np.random.default_rng(seed) of its own)"
)

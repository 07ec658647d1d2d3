"""The iterators that Keras opens over a ``tf.data`` pipeline during one ``fit``: how many they are, where the last one
stands, and the way of a later process there.

Each iterator that is opened advances the seeds of the pipeline's shuffles, whether anything is drawn from it or not. So
a later process opens as many. The state of an iterator has these seeds, and what was drawn ahead.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from ....core.wording import bytes_text
from ...pair.deferred import Deferred
from ...session.open import at_close
from . import state_bytes
from .pipeline import Pipeline, advances_as_it_is_drawn
from .state_bytes import NoState

# How long the training may be held for a state: seconds, or a part of the time since the last one was taken.
_SHORT, _SHARE = 0.05, 0.01
_SEED = b"epoch_num_random_samples"  # stands once for each shuffle in a state

_opened: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
_left: weakref.WeakSet[Any] = weakref.WeakSet()
at_close(_opened.clear)
at_close(_left.clear)


def opened(dataset: Any) -> int:
    """How many iterators over it were opened by the fits of this process, and ``reach``."""
    return _opened.get(dataset, 0)


def reach(counted: Any, count: int, dataset: Any = None) -> None:
    """Opens as many as an earlier process opened, over what was made of it, and draws from none."""
    while opened(counted) < count:
        iter(counted if dataset is None else dataset)
        note_opened(counted)


def note_opened(dataset: Any, count: int = 1) -> None:
    _opened[dataset] = opened(dataset) + count


def note_left(dataset: Any) -> None:
    """A ``fit`` over it ended while Keras' iterator was in mid-way, which reads on for a while."""
    _left.add(dataset)


def is_left(dataset: Any) -> bool:
    return isinstance(dataset, tf.data.Dataset) and dataset in _left


class OpenedIterators:
    """Stands where ``epoch_iterator`` asks for its data until ``release``; what it opens counts as ``counted``'s."""

    def __init__(self, counted: Any, epoch_iterator: Any) -> None:
        self._counted = counted
        self._keras = epoch_iterator
        self._get_iterator = epoch_iterator._get_iterator
        epoch_iterator._get_iterator = lambda: _Opens(self.open)

    def open(self) -> Any:
        note_opened(self._counted)
        return iter(self._get_iterator())

    def release(self) -> None:
        vars(self._keras).pop("_get_iterator", None)


class _Opens:
    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def __iter__(self) -> Any:
        return self._function()


class KerasIterators(OpenedIterators):
    """Those over the training's data, and the state of the one in use.

    ``is_stopping``: the process is about to end, so it is held for a state of any size. ``say`` receives what the user
    should know. ``restored``: the state of a checkpoint was put into the iterator that is in use.
    """

    def __init__(
        self,
        x: Any,
        epoch_iterator: Any,
        pipeline: Pipeline,
        is_stopping: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        is_given = isinstance(x, tf.data.Dataset)
        self.restored = False
        self._dataset = epoch_iterator._distributed_dataset
        super().__init__(x if is_given else self._dataset, epoch_iterator)
        self._layout = [tf.__version__, *pipeline.layout]
        # Drawn again, an order without a seed is another one: samples would come twice.
        self._ignore_random = pipeline.reads_variables or not is_given or pipeline.unseeded
        self._refused = (
            ((bool(pipeline.stateful) or not is_given) and not pipeline.unseeded)  # arrays are drawn again at no cost
            or not pipeline.has_state
            or not isinstance(self._dataset, tf.data.Dataset)
        )
        self._seeds = pipeline.seeds
        self._unseeded = pipeline.unseeded
        self._is_reordered = advances_as_it_is_drawn(self._dataset)
        self._is_stopping = is_stopping
        self._say = say
        self._current: Callable[[], Any] = _none
        self._left_out = False  # the state that the last pair should have had was too dear
        self._pending: list[bytes | None] = []  # for the next iterators that Keras opens
        self._cost, self._bytes, self._taken = 0.0, 0, time.monotonic()

    # --- what a pair keeps

    @property
    def have_state(self) -> bool:
        """As far as is known: one of several replicas' has none."""
        return not (self._refused or self._left_out)

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        """``continues``: the next process's first iterator takes the place of the one that is in use now."""
        self._left_out = False
        keras, count = self._keras, opened(self._counted)
        over = within_epoch and done > 0 and keras._steps_seen == 0  # its epoch is drawn, and Keras has opened another
        continues = within_epoch or (keras.steps_per_epoch is not None and keras._current_iterator is not None)
        in_use = None if over and not self._is_reordered else self._state()
        place = {
            "before": max(0, count - (2 if over else 1 if continues else 0)),
            "continues": continues,
            "over": over,
            "layout": self._layout,
        }
        return {"iterator": place, "iterator_state": in_use}

    def _state(self) -> Deferred | None:
        iterator = self._current()
        if iterator is None or self._refused:
            return None
        self._left_out = not self._is_cheap()
        if self._left_out:
            return None
        began = time.monotonic()
        try:
            state = state_bytes.take(iterator, self._ignore_random)
        except NoState as error:
            self._refuse(str(error))
            return None
        self._taken = time.monotonic()
        self._cost = self._taken - began
        return state_bytes.deferred(state, self._bytes, self._note_size)

    def _is_cheap(self) -> bool:
        """There is no other exact way without a seed: drawn again, some samples would come twice."""
        cheap = self._cost <= max(_SHORT, _SHARE * (time.monotonic() - self._taken))
        return cheap or self._unseeded or self._is_stopping()

    def _note_size(self, size: int) -> None:
        self._bytes = min(size, state_bytes.MOST_BYTES)
        if size > state_bytes.MOST_BYTES:
            self._refuse(f"it has {bytes_text(size)}, and at most {bytes_text(state_bytes.MOST_BYTES)} are kept")

    def _refuse(self, why: str) -> None:
        self._refused = True
        self._say(f"the state of the data's iterator is not kept ({why}): a resume draws its batches again")

    # --- the way back

    def restore(self, facts: Mapping[str, Any]) -> bool:
        """Between two epochs, or after the last one: to where the earlier process was. No iterator is continued.

        Returns whether the seeds are those of the earlier process, not only advanced by opening as many iterators.
        """
        self._reach(facts["iterator"]["before"])
        state = self._usable(facts)
        return state is not None and self._has_all_seeds(state) and self._put(iter(self._dataset), state)

    def begin(self, facts: Mapping[str, Any]) -> bool:
        """The next iterator that Keras opens continues the earlier process's one. If that was at its end, the seeds are
        set at the one after it; returns whether they will be (see ``restore``).

        TensorFlow makes an iterator anew as it sets it to a state, which advances the seeds that the state does not
        have: those of a shuffle that has come to its end. Where as many are opened as there were, its batches are drawn
        again instead. Not so of what is not seeded: its batches would be others, and its later orders are new anyway.
        """
        place, state = facts["iterator"], self._usable(facts)
        before, complete = place["before"], state is not None and self._has_all_seeds(state)
        if state is not None and not complete and not place["over"] and not self._unseeded:
            before, state = (before - 1, state) if before > opened(self._counted) else (before, None)
        self._reach(before)
        self._pending = [None, state if complete else None] if place["over"] else [state]
        return place["over"] and complete

    def _reach(self, count: int) -> None:
        if self._seeds:
            reach(self._counted, count, self._dataset)

    def _usable(self, facts: Mapping[str, Any]) -> bytes | None:
        state: bytes | None = facts.get("iterator_state")
        return state if facts["iterator"]["layout"] == self._layout else None

    def _has_all_seeds(self, state: bytes) -> bool:
        return state.count(_SEED) >= self._seeds

    def open(self) -> Any:
        made, pending = super().open(), self._pending.pop(0) if self._pending else None
        if pending is not None:
            self.restored = self._put(made, pending)
            if not (self.restored and self._has_all_seeds(pending)):
                note_opened(self._counted)  # it was made anew
            made = made if self.restored else iter(self._dataset)
        self._current = weakref.ref(made)
        return made

    def _put(self, iterator: Any, state: bytes) -> bool:
        try:
            state_bytes.put(iterator, state)
        except NoState as error:
            self._say(f"the checkpoint's state of the data cannot be used ({error}): its batches are drawn again")
            return False
        return True


def _none() -> None:
    return None

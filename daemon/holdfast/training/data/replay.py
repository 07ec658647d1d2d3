"""The way from an epoch's beginning to the batch at which the checkpoint was taken: batches are drawn and dropped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, NoReturn

import keras

from ...core.errors import Mismatch
from ...core.wording import count
from ..keras import random_state
from ..keras.internals import mute
from ..pair.pair import Saved
from ..session.base import Session
from .tf_data import Feed, pull

_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end")


def too_short(batches: int, done: int) -> Mismatch:
    has = count(batches, "batch", "batches")
    return Mismatch(
        f"the data has {has}, and the checkpoint was taken at batch {done} of its epoch: "
        "give the data that it was trained on, or start a new run under another name"
    )


class Replay:
    """``left`` batches are still to be dropped before the first that this process trains on."""

    def __init__(self, model: keras.Model, feed: Feed, session: Session, say: Callable[[str], None]) -> None:
        self._model = model
        self._feed = feed
        self._session = session
        self._say = say
        self._saved: Saved | None = None
        self._dropped = 0
        self.left = 0

    def begin(self, saved: Saved, others: Sequence[keras.callbacks.Callback]) -> None:
        """At the start of the checkpoint's epoch. The ``others`` don't see what is dropped: each muted hook counts its
        calls, and unmutes itself.
        """
        self._saved, self._dropped, self.left = saved, 0, saved.position.batch
        calls = math.ceil(self.left / self._model.steps_per_execution)
        for callback in others:
            if not isinstance(callback, keras.callbacks.ProgbarLogger):
                for hook in _BATCH_HOOKS:
                    mute(callback, hook, calls)

    def catch_up(self, iterator: Any) -> None:
        """What earlier epochs drew from Keras' iterator."""
        before = random_state.get_state()
        self._feed.catch_up(iterator)
        if not self.left:
            self._caught_up()
            random_state.set_state(before)

    def drop(self, iterator: Any, per_call: int) -> int:
        """One call of the train function; returns how many batches it dropped. Raises Mismatch if there are too few."""
        last, wanted = self.left <= per_call, min(per_call, self.left)
        pulled = sum(1 for _ in takewhile(lambda _: pull(iterator), range(wanted)))
        self._dropped += pulled
        self.left -= pulled
        if pulled < wanted:
            if not (last and pulled):
                self.refuse()
            self.left = 0  # the last call of an epoch of unknown size counts in full
        if not self.left:
            assert self._saved is not None
            saved, self._saved = self._saved, None
            self._caught_up()
            self.arrive(saved)
        return pulled

    def arrive(self, saved: Saved) -> None:
        """The training is where the checkpoint was taken."""
        random_state.set_state(dict(saved.facts["random"]))
        if saved.facts["ended"]:  # in the middle of an epoch, which is left at the next batch's end
            self._model.stop_training = True

    def refuse(self) -> NoReturn:
        """The data has fewer batches than are done already."""
        error = too_short(self._dropped, self._dropped + self.left)
        self._session.refuse(str(error))
        raise error

    def _caught_up(self) -> None:
        self._feed.caught_up()
        if not self._feed.exact:
            self._say(
                "resuming at the right batch, but this data may come in another order than before, so some samples of "
                "this epoch may be seen twice and others not at all (holdfast.dataset(x, y, batch_size=, seed=) is "
                "exact)"
            )

"""What the positions in data that Python feeds have in common: Keras' count, and what is not theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import dataset_passes
from ..position import ignore, ignore_earlier
from ..waits_for_batch import awaited


class PythonPosition:
    """A DataPosition. Keras makes a new iterator for each epoch, or one that serves until the data is at its end.

    A pass is what one iterator gives. ``_drawn`` batches of this one were trained on in earlier epochs. A pair of an
    older version has no facts of such a class: then batches that are done are drawn by Keras' iterator, and that is
    not exact.
    """

    key = ""  # of its own facts
    way = "the state that it tells, or random states with which it is drawn again"
    read_only: Mapping[str, Any] = {}
    written: Sequence[Any] = ()
    unkept: str | None = None
    verdict: str | None = None
    calls_python = may_draw_again = False

    def __init__(self, epoch_iterator: Any) -> None:
        self.exact = True
        self.behind = False
        self.is_awaited = awaited(epoch_iterator)
        self._keras = epoch_iterator
        self._one_iterator = epoch_iterator.steps_per_epoch is not None
        self._drawn = 0
        self._of_older_version = False

    def facts(self, within_epoch: bool, done: int) -> dict[str, Any]:
        known = {"pass": 0, "batches": 0} if self.exact else None
        return {"data": known, "drawn": self._drawn, "passes": dataset_passes.counts(), "places": []}

    def random_state(self, within_epoch: bool, done: int) -> dict[str, Any]:
        return {}

    def check(self, facts: Mapping[str, Any]) -> None:
        """Nothing beside what ``restore`` takes."""

    def restore(self, facts: Mapping[str, Any]) -> None:
        dataset_passes.set_counts(facts.get("passes", ()))
        self._drawn = int(facts["drawn"]) if self._one_iterator else 0

    def difference(self, facts: Mapping[str, Any]) -> str | None:
        return None

    def begin_epoch(self, done: int, within: bool, facts: Mapping[str, Any] | None) -> None:
        self.behind = facts is not None and self._drawn > 0
        self._of_older_version = facts is not None and self.key not in facts
        if self._of_older_version and (done or self._drawn):
            self.exact = False

    def catch_up(self, iterator: Any, look: Callable[[int, Any], None] = ignore_earlier) -> None:
        self.behind = False
        for _ in range(self._drawn):
            self.drop_batch(iterator)
        self._keras._steps_seen += self._drawn

    def drop_batch(self, iterator: Any, look: Callable[[Any], None] = ignore) -> bool:
        batch = next(iterator, None)
        if batch is not None:
            look(batch)
        return batch is not None

    def caught_up(self) -> None:
        """Nothing comes otherwise from here on."""

    def end_epoch(self) -> None:
        """Keras' iterator serves the next epoch too, unless it was at its end: then it is a new one by now, or none."""
        continues = self._one_iterator and self._keras._current_iterator is not None
        self._drawn = int(self._keras._steps_seen) if continues else 0

    def release(self) -> None:
        """Keras' objects of this ``fit`` are used no more."""

    def _batch(self, within_epoch: bool, done: int) -> int | None:
        """How many of this pass are done; None between two passes."""
        return self._drawn + done if within_epoch or self._drawn else None

    def _surely_done(self) -> int:
        """Of the batches of this pass: those before the step that is being made."""
        return max(0, int(self._keras._steps_seen) - int(self._keras.steps_per_execution))


def is_distributed(epoch_iterator: Any) -> bool:
    """Over several replicas: then an iterator draws ahead from the moment in which it is opened."""
    strategy = getattr(epoch_iterator, "_distribute_strategy", None)
    return int(getattr(strategy, "num_replicas_in_sync", 1)) > 1


def has_strategy(epoch_iterator: Any) -> bool:
    """Of one replica or more: then Keras draws a batch of its own before each ``fit`` and each validation."""
    strategy = getattr(epoch_iterator, "_distribute_strategy", None)
    return strategy is not None and "Default" not in type(strategy).__name__

"""Looks at a few batches on their way into the train function, which draws them itself.

Such a batch is drawn here, and handed to the same function by another iterator of the same kind: nothing is computed
otherwise. The data and the model stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...data.batch_digests import BatchDigests, is_sampled
from ..backends.chosen import backend
from ..backends.protocol import Handover
from .progress import FitProgress


class BatchSampler:
    """Takes the digests of what one ``fit`` draws; nothing is done unless ``wanted``."""

    def __init__(self, digests: BatchDigests, progress: FitProgress, wanted: bool, say: Callable[[str], None]) -> None:
        self._digests = digests
        self._progress = progress
        self._say = say
        self._handover: Handover | None = None
        self._usable = None if wanted else False
        self._wanted = wanted

    def decide_again(self) -> None:
        """The train function is another from here on."""
        self._usable = None if self._wanted else False

    def look(self, batch: int, content: Any) -> None:
        """A batch of this epoch, by its number."""
        if self._wanted and is_sampled(batch):
            self._digests.add(self._progress.epoch, batch, backend().arrays_of(content))

    def look_back(self, before: int, content: Any) -> None:
        """A batch of an earlier epoch: so many before this one's first."""
        steps = self._progress.steps
        if self._wanted and steps:
            epoch, batch = divmod(self._progress.epoch * steps - before, steps)
            if is_sampled(batch):
                self._digests.add(epoch, batch, backend().arrays_of(content))

    def call(self, train_function: Any, iterator: Any, per_call: int) -> Any:
        """One call of the train function, which takes ``per_call`` batches or what is left."""
        batches = range(self._progress.batch, self._progress.batch + per_call)
        if not any(map(is_sampled, batches)) or not self._can(train_function, iterator) or not self._are_there(batches):
            return train_function(iterator)
        assert self._handover is not None
        drawn = []
        for batch in batches:
            try:
                drawn.append((batch, next(iterator)))
            except backend().ends:
                return train_function(iterator)  # which finds the end, too
        for batch, content in drawn:
            self.look(batch, content)
            self._handover.give(content)
        if (text := self._digests.after_batch()) is not None:
            self._say(text)
        return train_function(self._handover.iterator)

    def _are_there(self, batches: range) -> bool:
        """What is drawn must be handed over whole."""
        steps = self._progress.steps
        return len(batches) == 1 or (steps is not None and batches.stop <= steps)

    def _can(self, train_function: Any, iterator: Any) -> bool:
        if self._usable is None:
            self._handover = backend().handover(train_function, iterator)
            self._usable = self._handover is not None
        return self._usable

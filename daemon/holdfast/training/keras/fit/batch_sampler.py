"""Looks at a few batches on their way into the train function, which draws them inside of its graph.

Such a batch is drawn here, and handed to the same function by another iterator of the same kind: no graph is traced
anew, nothing is computed otherwise. The data and the model stay as they are. It took 0.3 ms a batch that is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ...data.digests import BatchDigests, is_sampled
from .progress import FitProgress

_KERAS = "TensorFlowTrainer._make_function.<locals>.function"


class BatchSampler:
    """Takes the digests of what one ``fit`` draws; nothing is done unless ``wanted``."""

    def __init__(self, digests: BatchDigests, progress: FitProgress, wanted: bool, say: Callable[[str], None]) -> None:
        self._digests = digests
        self._progress = progress
        self._say = say
        self._handover: _Handover | None = None
        self._usable = None if wanted else False
        self._wanted = wanted

    def decide_again(self) -> None:
        """The train function is another from here on."""
        self._usable = None if self._wanted else False

    def look(self, batch: int, content: Any) -> None:
        """A batch of this epoch, by its number."""
        if self._wanted and is_sampled(batch):
            self._digests.add(self._progress.epoch, batch, arrays_of(content))

    def look_back(self, before: int, content: Any) -> None:
        """A batch of an earlier epoch: so many before this one's first."""
        steps = self._progress.steps
        if self._wanted and steps:
            epoch, batch = divmod(self._progress.epoch * steps - before, steps)
            if is_sampled(batch):
                self._digests.add(epoch, batch, arrays_of(content))

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
            except (StopIteration, tf.errors.OutOfRangeError):
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
        """Keras' own train function draws a batch a step; another one may draw as it likes."""
        if self._usable is None:
            plain = getattr(train_function, "__qualname__", "") == _KERAS and _is_plain(iterator)
            self._handover = _Handover(iterator.element_spec) if plain else None
            self._usable = self._handover is not None
        return self._usable


def arrays_of(batch: Any) -> list[np.ndarray]:
    """The arrays of a batch in their order, also of ragged and sparse ones; what is none is left out."""
    parts = tf.nest.flatten(batch, expand_composites=True)
    return [np.asarray(part) for part in parts if isinstance(part, tf.Tensor | np.ndarray) and part.dtype != tf.variant]


def _is_plain(iterator: Any) -> bool:
    """One device's iterator over dense arrays in the host's memory."""
    resource = getattr(iterator, "_iterator_resource", None)
    if not isinstance(iterator, tf.data.Iterator) or resource is None or "GPU" in resource.device:
        return False
    specs = tf.nest.flatten(iterator.element_spec)
    return all(isinstance(spec, tf.TensorSpec) and spec.dtype not in (tf.variant, tf.resource) for spec in specs)


class _Handover:
    """An iterator that gives what it is given."""

    def __init__(self, spec: Any) -> None:
        flat = tf.nest.flatten(spec)
        with tf.device("CPU:0"):
            self._queue = tf.queue.FIFOQueue(-1, [one.dtype for one in flat])

            def take(_: Any) -> Any:
                taken = self._queue.dequeue()
                taken = taken if isinstance(taken, list | tuple) else [taken]
                for value, one in zip(taken, flat, strict=True):
                    value.set_shape(one.shape)
                return tf.nest.pack_sequence_as(spec, taken)

            data = tf.data.Dataset.from_tensors(0).repeat().map(take).with_options(_on_demand())
            self.iterator = iter(data)

    def give(self, batch: Any) -> None:
        self._queue.enqueue(tf.nest.flatten(batch))


def _on_demand() -> tf.data.Options:
    """Nothing is taken from the queue before the train function asks for it."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    options.experimental_optimization.inject_prefetch = False
    return options

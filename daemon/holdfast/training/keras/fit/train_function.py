"""Stands in for the model's train function during one ``fit``: counts batches, and drops those that are done already.

Keras counts a dropped batch as usual, so no number of Keras' own needs to be set.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any

from ....spool import Board, Progress
from ...data.keras_in_use import keras
from ...data.position import DataPosition
from ...data.replay import Replay
from .. import variables
from ..backends.chosen import backend
from ..backends.protocol import Step
from ..internals import runs_in_fit
from .batch_sampler import BatchSampler
from .progress import FitProgress


class TrainFunction:
    """Between ``install`` and ``remove`` the model calls it with an iterator for each step, or group of steps.

    A callback may rebuild or wrap ``model.train_function`` during ``fit``; ``keep_installed`` deals with that.
    ``first_step`` is called with Keras' own train function after its first call, and ``not_ours`` where another ``fit``
    finds this one installed. ``board`` shows the progress to other processes.
    """

    def __init__(
        self,
        model: keras.Model,
        callback_list: keras.callbacks.CallbackList,
        data: DataPosition,
        replay: Replay,
        sampler: BatchSampler,
        progress: FitProgress,
        board: Board,
        executed: int,
        first_step: Callable[[Any], None],
        step_done: Callable[[], None],
        not_ours: Callable[[], None],
    ) -> None:
        self._model = model
        self._callback_list = callback_list
        self._data = data
        self._replay = replay
        self._sampler = sampler
        self._progress = progress
        self._board = board
        self._executed = executed
        self._first_step = first_step
        self._step_done = step_done
        self._epoch_seen: int | None = None
        self._not_ours = not_ours
        self._inner: Any = None
        self._installed: Any = None
        self._running = False
        self._per_call = 1
        self._iterator: Callable[[], Any] = lambda: None

    def install(self) -> None:
        model = self._model
        self._inner = inner = getattr(model.train_function, "holdfast_inner", model.train_function)
        self._per_call = int(model.steps_per_execution)

        def call(step: Step, iterator: Any) -> Any:
            """Counts once, also where others call it from what they put around it."""
            if self._running or not (self._iterator() is iterator or self._takes(iterator)):
                return step(iterator)
            return self._call(step, iterator)

        train = backend().stand_in(inner, call)
        train.holdfast_inner = inner
        model.train_function = self._installed = train

    def keep_installed(self) -> None:
        """Before each step, after all callbacks. None is left for Keras to complain of."""
        if self._model.train_function not in (self._installed, None):
            variables.build_optimizers(self._model)  # of a new ``compile``, before its first pair
            self._sampler.decide_again()
            self._progress.remade = True
            self.install()

    def remove(self) -> None:
        if self._model.train_function is self._installed:
            self._model.train_function = self._inner

    def _call(self, step: Step, iterator: Any) -> Any:
        if self._data.behind:
            self._replay.catch_up(iterator)
        if self._replay.left:
            self._progress.batch += self._replay.drop(iterator, self._per_call)
            return self._progress.logs
        if self._progress.at_end:  # in an earlier process: a step that finds no batch counts in the optimizer once
            raise StopIteration
        self._progress.calls += 1
        self._running = True
        try:
            logs = self._sampler.call(step, iterator, self._per_call)
        except backend().ends:
            self._progress.at_end = True
            raise
        finally:
            self._running = False
        self._count(self._progress.computed(logs, self._per_call))
        if self._progress.spec is None:
            self._progress.spec = backend().spec_of(iterator)
            self._first_step(self._inner)
        if self._progress.calls > 1 and self._epoch_seen != self._progress.epoch and not self._may_be_smaller():
            self._epoch_seen = self._progress.epoch
            self._step_done()
        return logs

    def _may_be_smaller(self) -> bool:
        """The batch that was the last one of its epoch, where there are others."""
        steps = self._progress.steps
        return steps is not None and 1 < steps <= self._progress.batch

    def _count(self, done: int) -> None:
        self._executed += done
        position = self._progress.position
        self._board.write(Progress(self._executed, position.epoch, position.batch, position.step))

    def _takes(self, iterator: Any) -> bool:
        """A ``fit`` that raises calls no callback: one that comes after it, without Resume, is not ours."""
        if runs_in_fit(sys._getframe(), self._callback_list):
            self._iterator = weakref.ref(iterator)
            return True
        self._not_ours()
        return False

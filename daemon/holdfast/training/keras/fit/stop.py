"""The end of the process once a stop was asked for, with the last state stored."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from ....core.errors import Exit
from ...data.keras_in_use import keras
from ...pair.background_writer import Writer
from ...pair.pair_files import Draft
from ...session.base import Session
from .. import callback_state
from ..backends.chosen import backend
from .boundary_state import Boundary, BoundaryReader
from .progress import FitProgress, ValidationClock


def stays_until_batch(model: keras.Model, callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Does nothing of the state change between a boundary and the arrival of the next step's batch?

    What another callback does as the batch begins comes after the boundary.
    """
    if int(model.steps_per_execution) != 1 or not backend().begins_with_its_batch(model):
        return False
    own_function = type(model).make_train_function is not keras.Model.make_train_function
    return not own_function and not any(map(_sees_batch_begin, callbacks))


def _sees_batch_begin(callback: keras.callbacks.Callback) -> bool:
    base = keras.callbacks.Callback
    hooks = (callback.on_train_batch_begin, callback.on_batch_begin)
    own = (base.on_train_batch_begin, base.on_batch_begin)
    return any(getattr(hook, "__func__", None) is not one for hook, one in zip(hooks, own, strict=True))


class FitStop:
    """Ends the process in the training thread, between batches or within validation; or else in another thread."""

    def __init__(
        self,
        session: Session,
        writer: Writer,
        reader: BoundaryReader,
        progress: FitProgress,
        callbacks: Sequence[keras.callbacks.Callback],
        is_awaited: Callable[[], bool] | None,
        clock: ValidationClock,
    ) -> None:
        """``is_awaited`` tells whether the training waits for a batch (see DataPosition), if it can be told."""
        self._session = session
        self._writer = writer
        self._reader = reader
        self._progress = progress
        self._callbacks = callbacks
        self._is_awaited = is_awaited
        self._clock = clock
        self._last_boundary: Boundary | None = None
        self._finishing = False
        self._before_validation: Boundary | None = None

    def at_boundary(self, reason: str) -> None:
        """Stores what is not stored yet, and ends the process."""
        self._writer.wait()
        stored = not self._progress.unsaved and not self._writer.failed
        self._finish(stored or self._writer.write_now(self._reader.draft_now(reason)))

    def boundary_passes(self, stays: bool) -> None:
        """The next step may wait for its batch for ever: then another thread needs what this one can read only now.

        The variables' values are left out: where the state ``stays``, they are the same until the batch is there.
        """
        self._last_boundary = self._reader.read() if self._is_awaited is not None and stays else None

    def validation_begins(self) -> None:
        """``evaluate`` resets the metrics, and may swap weights: what a stop during validation needs is read now."""
        self._before_validation = self._reader.read(with_values=True)

    def in_validation(self) -> None:
        self._session.arrive()
        reason = self._session.stop_reason
        if reason is None:
            return
        with self._progress.lock:
            if self._before_validation is None:
                self.at_boundary(reason)
                return
            self._finish(self._writer.write_now(self._reader.draft(self._before_validation, reason)))

    def validation_ends(self) -> None:
        self._before_validation = None

    def overdue(self) -> None:
        """In a thread of its own: a stop was asked for a while ago, and the training thread reached no boundary.

        Where the state of the last boundary is at hand, this thread stores it and ends the process: while the first
        step is being traced or compiled (nothing is new since the start), during validation, and while a step that has
        changed nothing yet waits for a batch, as it may for ever after a signal that ended the processes which make
        them.
        """
        with self._progress.lock:
            reason = self._session.stop_reason or "stop"
            if self._finishing:
                return
            if self._before_validation is not None:
                self._exit(self._writer.write_now(self._reader.draft(self._before_validation, reason)))
            if self._progress.calls <= 1 and not self._progress.unsaved:
                self._writer.wait()
                self._exit(stored=not self._writer.failed)
            if (draft := self._draft_while_waiting(reason)) is not None:
                self._exit(self._writer.write_now(draft))

    def _draft_while_waiting(self, reason: str) -> Draft | None:
        """None if a batch came before all values were read, or may have: then the next boundary is near."""
        boundary, calls, is_awaited = self._last_boundary, self._progress.calls, self._is_awaited
        if boundary is None or is_awaited is None or not is_awaited():
            return None
        draft = self._reader.draft(boundary, reason)
        same = boundary is self._last_boundary and calls == self._progress.calls
        return draft if same and is_awaited() else None

    def _finish(self, stored: bool) -> NoReturn:
        self._finishing = True
        self._clock.end()
        callback_state.flush(self._callbacks)
        self._session.end_process(stored)

    def _exit(self, stored: bool) -> NoReturn:
        """Ends the process from another thread than the main one, which may be deep in a compiler."""
        self._clock.end()
        callback_state.flush(self._callbacks)
        self._session.report_stop(stored)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(Exit.STOPPED if stored else Exit.UNSTORED))

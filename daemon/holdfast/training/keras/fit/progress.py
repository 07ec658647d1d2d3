"""How far one ``fit`` is."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from ....spool import Board
from ...pair.pair_files import Position
from ..backends.chosen import backend


class FitProgress:
    """``epoch`` epochs are complete, ``batch`` batches of the next one are done, ``step`` batches in all.

    ``epochs`` is how far this ``fit`` is to train, and ``steps`` the batches of an epoch, where Keras knows it.
    ``begun``: callbacks have seen the beginning of this epoch. ``at_end``: a step has found its data at the end.
    ``calls`` of the train function have begun; ``logs`` are what the last one returned. ``unsaved``: something is new
    since the last pair. ``spec`` describes the batches, once there was one (False where it cannot be described).
    ``bypassed``: somebody does steps without the train function, and ``remade``: a callback has made it anew.
    ``recompiled``: a callback has compiled the model anew, in this call or, where it is called again in the same
    process, in one before. ``set_in_layers``: settings that were restored.

    Only the training thread changes it, and what a step changes only under ``lock``: a thread that ends the process
    holds the lock, so that nothing is new meanwhile.
    """

    def __init__(self, step: int, epochs: int, steps: int | None) -> None:
        self.epochs = epochs
        self.steps = steps
        self.epoch = 0
        self.batch = 0
        self.step = step
        self.begun = False
        self.at_end = False
        self.calls = 0
        self.logs: Any = None
        self.unsaved = False
        self.bypassed = False
        self.remade = False
        self.recompiled = False
        self.set_in_layers: dict[int, dict[str, Any]] = {}
        self.spec: Any = None
        self.lock = threading.Lock()

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.batch, self.step)

    def resume_at(self, position: Position, logs: Any) -> None:
        self.epoch, self.batch, self.step = position.epoch, position.batch, position.step
        self.logs = logs

    def begin_epoch(self, epoch: int) -> None:
        self.epoch, self.batch, self.begun, self.at_end = epoch, 0, True, False

    def computed(self, logs: Any, per_call: int) -> int:
        """A call of the train function returned, after at most ``per_call`` batches. Returns how many they were."""
        with self.lock:
            self.logs = logs
            self.unsaved = True
        done = per_call if self.steps is None else min(per_call, max(1, self.steps - self.batch))
        self.batch += done
        self.step += done
        return done

    def missed(self, batches: int) -> None:
        """So many batches were done by somebody who did not call the train function."""
        with self.lock:
            self.unsaved = self.bypassed = True
        self.batch += batches
        self.step += batches

    def end_epoch(self, epoch: int, logs: Any) -> None:
        self.epoch, self.batch, self.begun, self.at_end = epoch + 1, 0, False, False
        self.logs = logs
        self.unsaved = True


def uneven_calls(epoch_iterator: Any) -> str | None:
    """Why an epoch's batches are more than are counted, as Keras' own count of the last call's is short; None if they
    are not. Data that is over with the epoch has no more of them.
    """
    steps, per_call = (
        getattr(epoch_iterator, "steps_per_epoch", None),
        getattr(epoch_iterator, "steps_per_execution", 1),
    )
    if not steps or steps % per_call == 0 or epoch_iterator.data_adapter.num_batches == steps:
        return None
    trained = steps + per_call - steps % per_call
    return (
        f"steps_per_epoch={steps} is no multiple of steps_per_execution={per_call}: Keras trains {trained} batches an "
        "epoch, so a resume after a stop during validation begins too early in the data. Choose a multiple"
    )


class ValidationClock:
    """Puts the time of each validation on the ``board``; of one that a stop ends, what it took so far."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._began: float | None = None

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> None:
        began, self._began = self._began, None
        if began is not None:
            self._board.add_validation(time.monotonic() - began)


class StepsTaken:
    """The optimizer's own count since an epoch began, at ``step``: it tells of steps that nobody reported."""

    def __init__(self, model: Any, step: int) -> None:
        self._model = model
        self._step = step
        self._iterations = self._now()

    def missed(self, progress: FitProgress) -> int:
        """Where some were seen in time, an optimizer may count otherwise (of several batches once, say)."""
        taken, counted = self._now() - self._iterations, progress.step - self._step
        taken -= progress.at_end  # Keras' own count of a step that found no batch
        return max(0, taken - counted) if progress.bypassed or not counted else 0

    def _now(self) -> int:
        iterations = getattr(getattr(self._model, "optimizer", None), "iterations", None)
        if iterations is None:
            return 0
        value = getattr(iterations, "value", iterations)  # a tensor where gradients are accumulated
        value = value() if callable(value) else value  # of Keras 2
        copies = getattr(value, "values", None)  # under a strategy
        return number_in(copies[0] if isinstance(copies, tuple | list) else value)


def number_in(value: Any) -> int:
    """Of a tensor on whatever device."""
    return int(np.asarray(value if isinstance(value, int) else backend().read(value)))

"""One call of ``model.fit`` with ``holdfast.Resume`` in it: which part acts at which hook, and why there.

- ``Resume`` stands first in the callback list, and ``Tail`` last. At ``on_train_batch_begin`` the first
  one sees the boundary between two batches before any other callback has seen the next batch; the last one restores
  after all others have reset themselves, and saves an epoch's end after all others have seen it.
- Both are marked safe for asynchronous dispatch and define no batch-end hook, so ``fit`` runs as fast as without them.
- Batches that are done already are drawn from the data and dropped by a stand-in for the model's train function
  (train_function.py); the other callbacks' batch hooks are muted meanwhile.

Keras' own BackupAndRestore is where the use of ``model._initial_epoch`` comes from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from ....core.manifest import LAST_EPOCH
from ....core.policy import Cadence
from ....spool import Board
from ...data.batch_digests import BatchDigests
from ...data.keras_in_use import keras
from ...data.replay import Replay
from ...session.base import Session
from ...session.identity import Identity
from .. import random_state, variables
from ..backends.chosen import backend
from ..internals import runs_in_fit, time_only_others
from ..own_values import OwnValues
from ..watched import Watched
from . import unkept_generators
from .batch_sampler import BatchSampler
from .boundary_state import BoundaryReader
from .identity import loss_digest
from .progress import FitProgress, StepsTaken, ValidationClock, uneven_calls
from .resumption import Resumption
from .save_policy import INTERVAL, SavePolicy
from .stop import FitStop, stays_until_batch
from .train_function import TrainFunction


class Tail(keras.callbacks.Callback):
    """The last callback in the list: it acts when all the others have."""

    async_safe = True
    _supports_tf_logs = True

    def __init__(self, fit: Fit) -> None:
        super().__init__()
        self._fit = fit

    def on_train_begin(self, logs: Any = None) -> None:
        self._fit.train_begins()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._fit.epoch_begins(epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._fit.batch_begins()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._fit.epoch_ends(epoch, logs or {})

    def on_test_end(self, logs: Any = None) -> None:
        self._fit.validation_ends()

    def on_train_end(self, logs: Any = None) -> None:
        self._fit.train_ends()


class Fit:
    """One call of ``fit``, from its first hook to its last. Hands each hook on to the part that acts there.

    ``head`` is the ``Resume``, whose ``ended`` is called at the last hook. ``local`` are the variables of ``fit``.
    """

    def __init__(
        self,
        head: keras.callbacks.Callback,
        ended: Callable[[], None],
        session: Session,
        cadence: Cadence,
        callbacks: keras.callbacks.CallbackList,
        local: dict[str, Any],
    ) -> None:
        model = head.model
        self._head = head
        self._ended = ended
        self._session = session
        self._training = 0
        self._writer = writer = session.writer
        self._callback_list = callbacks
        self._model: keras.Model = model
        self._callbacks: list[keras.callbacks.Callback] = []  # the list's without ours, once the training begins
        self._said: set[str] = set()
        self._x = local.get("x")
        self._class_weight = local.get("class_weight")
        self._data = data = backend().position_in(
            self._x, local.get("epoch_iterator"), self._say, lambda: session.stop_reason is not None
        )
        progress = FitProgress(session.step, int(head.params.get("epochs") or 0), head.params.get("steps"))
        executed = Board.read(session.spool.file(Board.FILE)).executed
        self._progress = progress
        self._policy = SavePolicy(cadence, time.monotonic())
        self._digests = digests = BatchDigests()
        looks = not data.exact or data.calls_python or data.may_draw_again
        sampler = BatchSampler(digests, progress, looks, self._say_of_order)
        self._replay = Replay(
            data, random_state, session.refuse, sampler.look, sampler.look_back, self._data_verdict, self._say
        )
        self._held_out = held_out = backend().validation_data(
            local.get("validation_data"), self._x, local.get("epoch_iterator"), self._say
        )
        used = {**data.read_only, **held_out.variables}
        self._watched = watched = Watched(model, self._callbacks, self._say, used, data.written)
        self._own_values = own_values = OwnValues(watched, self._say)
        validates = local.get("validation_data") is not None
        self._uneven = uneven_calls(local.get("epoch_iterator")) if validates else None
        self._resumption = Resumption(
            watched, own_values, session, data, held_out, digests, self._replay, progress, self._say
        )
        self._reader = BoundaryReader(
            watched, own_values, data, held_out, digests, session, callbacks, self._callbacks, progress, self._say
        )
        self._clock = clock = ValidationClock(session.board)
        self._stop = FitStop(session, writer, self._reader, progress, self._callbacks, data.is_awaited, clock)
        self._train_function = TrainFunction(
            model,
            callbacks,
            data,
            self._replay,
            sampler,
            progress,
            session.board,
            executed,
            self._first_step,
            own_values.step_done,
            self._release_model,
        )

    # --- the beginning and the end ---------------------------------------------------------------------------------

    def read_checkpoint(self, identity: Identity, other_backend: bool) -> None:
        self._writer.wait()  # of a fit that raised
        self._resumption.read(identity, self._callback_list.callbacks, other_backend)
        assert self._session.ledger is not None
        self._training = self._session.ledger.current_index

    def append_tail(self) -> None:
        """Appended while Keras goes through the list, so its ``on_train_begin`` comes last."""
        time_only_others(self._callback_list, self._head)
        tail = Tail(self)
        tail.set_model(self._model)
        tail.set_params(self._head.params)
        self._callback_list.callbacks.append(tail)

    def train_begins(self) -> None:
        head, tail = self._head, self._callback_list.callbacks[-1]
        self._callbacks.extend(c for c in self._callback_list.callbacks if c not in (head, tail))
        self._callback_list.callbacks = [head, *self._callbacks, tail]
        variables.build_optimizers(self._model)
        self._own_values.begin()
        self._reader.begin()
        if self._data.unkept is not None:
            self._say(self._data.unkept)
        for text in self._held_out.unkept():
            self._say(text)
        if self._uneven is not None:
            self._say(self._uneven)
        if self._resumption.train_begins(self._callbacks):
            self._policy.resumed_at(self._progress.step)
        self._train_function.install()
        self._session.on_overdue_stop = self._stop.overdue
        left = (self._model._initial_epoch or 0) < self._progress.epochs
        self._session.began(self._progress.epochs, self._is_inside, self._training, left, self._progress.steps)

    def train_ends(self) -> None:
        self._writer.wait()
        self._release_model()
        self._callback_list.callbacks = [c for c in self._callback_list.callbacks if not isinstance(c, Tail)]
        self._ended()
        if self._session.ledger is not None:
            trained = self._progress.calls > 0
            if trained:
                self._session.ledger.trains()
            self._session.ledger.finish(loss_digest(self._model, self._class_weight) if trained else None)
        self._session.step = max(self._session.step, self._progress.step)
        self._session.finished(stored=not self._writer.failed, training=self._training)

    def _is_inside(self, frame: FrameType | None) -> bool:
        return runs_in_fit(frame, self._callback_list)

    def _release_model(self) -> None:
        self._session.on_overdue_stop = None
        self._train_function.remove()
        self._data.release()
        self._held_out.release()
        self._model._initial_epoch = None

    # --- epochs and batches ----------------------------------------------------------------------------------------

    def epoch_opens(self) -> None:
        """Before any other callback sees it. Keras has read where to begin; should one raise, no later ``fit`` may."""
        self._model._initial_epoch = None

    def epoch_begins(self, epoch: int) -> None:
        self._progress.begin_epoch(epoch)
        self._resumption.epoch_begins(epoch, self._callbacks)
        self._steps = StepsTaken(self._model, self._progress.step)

    def boundary(self, batch: int) -> None:
        """Between two batches, before any other callback sees the second."""
        if self._replay.left:
            return
        progress, session = self._progress, self._session
        if progress.calls == 1 and session.ledger is not None:
            session.ledger.trains()
        self._notice_missed(batch - progress.batch)
        session.keep_signal_handler()
        progress.batch = batch
        session.arrive()
        if session.stop_reason is not None:
            self._stop.at_boundary(session.stop_reason)
        asked = session.save_reason
        if asked is not None:
            session.save_reason = None
        now = time.monotonic()
        if batch:
            self._policy.interval.boundary(now, self._writer.busy)
        else:
            self._policy.interval.pause(now)
        session.report_interval(self._policy.interval)
        due = self._policy.at_boundary(progress.step, now, asked)
        if asked is None and due == INTERVAL and self._policy.interval.by_the_clock and session.save_together(due):
            due = None
        if due is not None and progress.unsaved and (session.ranks > 1 or not self._writer.busy):
            self._save(due)
        self._stop.boundary_passes(stays_until_batch(self._model, self._callbacks))

    def batch_begins(self) -> None:
        """All other callbacks have seen it: the step is next."""
        self._train_function.keep_installed()

    def epoch_ends(self, epoch: int, logs: Any) -> None:
        if self._replay.left:  # nothing is new since the checkpoint, whatever ended the epoch here
            if not self._model.stop_training:  # else a callback did
                self._replay.refuse()
            return
        self._notice_missed(self._steps.missed(self._progress))
        self._data.end_epoch()
        self._watched.look_again()
        self._progress.end_epoch(epoch, logs)
        last = epoch + 1 >= self._progress.epochs or self._model.stop_training
        self._session.arrive()
        if self._session.stop_reason is not None:
            self._stop.at_boundary(self._session.stop_reason)
        else:
            if last:
                self._writer.wait()
            self._save(LAST_EPOCH if last else "epoch", required=last)

    def _notice_missed(self, batches: int) -> None:
        if batches > 0:
            self._progress.missed(batches)
            self._say(
                "this fit does steps without the model's train function: they are counted by the numbers that Keras "
                "gives to callbacks and by the optimizer, and a resume repeats those that come before the next one"
            )

    def validation_begins(self) -> None:
        self._clock.begin()
        self._held_out.begin(getattr(self._model, "_eval_epoch_iterator", None))
        if self._replay.left == 0 and self._progress.unsaved:
            self._stop.validation_begins()

    def during_validation(self) -> None:
        self._stop.in_validation()

    def validation_ends(self) -> None:
        self._clock.end()
        self._held_out.end()
        self._stop.validation_ends()

    def _save(self, reason: str, required: bool = False) -> None:
        """In the background. What finds no room behind earlier writes is done at a later boundary, if not required.

        A rank of a gang waits for the room: the others save at this boundary, too.
        """
        if self._session.ranks > 1:
            required = True
            if not self._writer.has_room(self._policy.size, required):
                self._writer.wait()
        if not self._writer.has_room(self._policy.size, required):
            self._policy.postpone(reason)
            return
        began = time.monotonic()
        draft = self._reader.draft_now(reason)
        self._policy.size = draft.size
        if not self._writer.offer(draft, required):
            self._policy.postpone(reason)
            return
        self._progress.unsaved = False
        now = time.monotonic()
        self._policy.taken(self._progress.step, now, now - began)

    def _first_step(self, train_function: Any) -> None:
        """Called after the first step, when its graphs exist."""
        for text in unkept_generators.warnings(self._model, train_function):
            self._say(text)
        self._reader.first_step_done()

    def _data_verdict(self) -> str | None:
        if self._data.verdict is not None:
            return self._data.verdict
        if self._data.exact and not self._digests.differ:
            return None
        text = self._digests.after_replay()
        if text is None or not self._digests.differ:
            return text
        if draws := backend().draws_in_data(self._x):
            return (
                f"{text}. It draws from tf.random ({', '.join(draws)}): tf.random.stateless_… gives the same numbers "
                "again"
            )
        if self._data.calls_python:
            return f"{text}. Python code that it calls (numpy_function, say) may draw random numbers: give it a seed"
        return text

    def _say_of_order(self, text: str) -> None:
        """Of data that is exact, as far as is known, only a batch that is another one is worth a word."""
        if not self._data.exact:
            self._say(text)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._session.say(text)

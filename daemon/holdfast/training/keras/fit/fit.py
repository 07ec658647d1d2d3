"""One call of ``model.fit`` with ``holdfast.Resume`` in it: what is restored, dropped, saved and stopped, and when.

Where it acts, and why there:

- ``Resume`` stands first in the callback list, and ``Tail`` last. At ``on_train_batch_begin`` the first
  one sees the boundary between two batches before any other callback has seen the next batch; the last one restores
  after all others have reset themselves, and saves an epoch's end after all others have seen it.
- Both are marked safe for asynchronous dispatch and define no batch-end hook, so ``fit`` runs as fast as without them.
- Batches that are done already are pulled from the data and dropped by a stand-in for the model's train function, so
  Keras counts them as usual; the other callbacks' batch hooks are muted meanwhile.

Keras' own BackupAndRestore is where the use of ``model._initial_epoch`` comes from.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import keras

from ....core.errors import Exit, HoldfastError, InvalidPair
from ....core.policy import Cadence
from ....core.wording import count
from ....spool import Board, Progress
from ...data import dataset_passes
from ...data.kinds import position_in
from ...data.replay import Replay, too_short
from ...pair.pair import Draft, Place, Position, Saved
from ...pair.plain import from_plain, to_plain
from ...pair.writer import Writer
from ...session.base import Session
from ...session.load import load_newest
from .. import callback_state, facts, random_state, snapshot, variables
from ..internals import mute_batch_hooks, runs_in_fit, spec_of
from ..restore import put_in, what_fits
from .boundary import Boundaries, Boundary
from .finished_fit import pass_over


class Tail(keras.callbacks.Callback):
    """The last callback in the list: it acts when all the others have."""

    async_safe = True

    def __init__(self, fit: Fit) -> None:
        super().__init__()
        self._fit = fit

    def on_train_begin(self, logs: Any = None) -> None:
        self._fit.train_begins()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._fit.epoch_begins(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._fit.epoch_ends(epoch, logs or {})

    def on_test_end(self, logs: Any = None) -> None:
        self._fit.validation_ends()

    def on_train_end(self, logs: Any = None) -> None:
        self._fit.train_ends()


def _is_within(saved: Saved, epoch: int) -> bool:
    """Was it taken after that epoch's beginning, which callbacks have seen? (Older versions did not say.)"""
    return saved.position.epoch == epoch and bool(saved.facts.get("begun", saved.position.batch > 0))


class Fit:
    """One call of ``fit``, from its first hook to its last."""

    def __init__(
        self,
        head: keras.callbacks.Callback,
        ended: Callable[[], None],
        session: Session,
        writer: Writer,
        cadence: Cadence,
        callbacks: keras.callbacks.CallbackList,
        local: dict[str, Any],
    ) -> None:
        self._head = head
        self._ended = ended
        self._session = session
        self._writer = writer
        self._cadence = cadence
        self._callbacks = callbacks
        self._model: keras.Model = head.model
        self._epochs = int(head.params.get("epochs") or 0)
        self._steps: int | None = head.params.get("steps")
        self._over = False
        self._data = position_in(local.get("x"), local.get("epoch_iterator"))
        self._saved: Saved | None = None
        self._others: list[Any] = []
        self._epoch = 0
        self._batch = 0
        self._step = session.step
        self._replay = Replay(self._data, random_state, session.refuse, self._say)
        self._begun = False
        self._dirty = False
        self._calls = 0
        self._finishing = False
        self._leaving = threading.Lock()
        self._due: str | None = None
        self._size = 0
        self._last_step = 0
        self._last_time = time.monotonic()
        self._validating: Boundary | None = None
        self._logs: Any = None
        self._said: set[str] = set()
        self._train_function: Callable[[Any], Any] | None = None
        self._iterator: Callable[[], Any] = lambda: None
        self._executed = Board.read(session.spool.file(Board.FILE)).executed

    # --- the beginning ---------------------------------------------------------------------------------------------

    def read_checkpoint(self) -> None:
        """Before any ``on_train_begin``: some callbacks need to know that they go on."""
        saved = load_newest(self._session, facts.checked)
        if saved is None:
            return
        self._saved = saved
        self._over = len(self._session.fits) < saved.facts["fit"]
        if not self._over:
            callback_state.continue_csv_files(self._callbacks.callbacks, saved.facts["callbacks"])

    def append_tail(self) -> None:
        """Appended while Keras goes through the list, so its ``on_train_begin`` comes last."""
        tail = Tail(self)
        tail.set_model(self._model)
        tail.set_params(self._head.params)
        self._callbacks.callbacks.append(tail)

    def train_begins(self) -> None:
        own = (self._head, self._callbacks.callbacks[-1])
        self._others = [c for c in self._callbacks.callbacks if c not in own]
        self._callbacks.callbacks = [self._head, *self._others, own[1]]
        self._boundaries = Boundaries(self._model, self._data, self._session, self._others, self._say)
        variables.build_optimizers(self._model)
        if self._saved is not None:
            try:
                (self._pass_over if self._over else self._restore)(self._saved)
            except InvalidPair as error:
                self._session.pass_over(str(error))
                raise  # without a supervisor: too much is set already to try another pair here
            except HoldfastError as error:
                self._session.refuse(str(error))
                raise
        self._wrap_train_function()
        self._session.when_pressed = self.pressed
        self._session.began(self._epochs, lambda frame: runs_in_fit(frame, self._callbacks))

    def _pass_over(self, saved: Saved) -> None:
        pass_over(self._model, saved, self._session)
        self._model._initial_epoch = self._epochs
        self._saved = None

    def _restore(self, saved: Saved) -> None:
        if self._steps is not None and saved.position.batch > self._steps:
            raise too_short(self._steps, saved.position.batch)
        put_in(self._model, saved, self._say)
        callback_state.set_states(self._others, saved.facts["callbacks"], self._say)
        random_state.set_state(dict(saved.facts["random"]))
        self._logs = from_plain(saved.facts["logs"])
        self._data.restore(saved.facts)
        self._say_differences(saved)
        position = saved.position
        self._epoch, self._batch, self._step = position.epoch, position.batch, position.step
        self._last_step = position.step
        # By EarlyStopping, say: training on would not be the same training.
        ended = saved.facts["ended"] and not _is_within(saved, position.epoch)
        self._model._initial_epoch = self._epochs if ended else position.epoch

    def _say_differences(self, saved: Saved) -> None:
        if difference := self._data.difference(saved.facts):
            self._say(difference)
        epoch, batch = saved.position.epoch, saved.position.batch
        if (epoch, batch) > (self._epochs, 0):
            asked = count(self._epochs, "epoch")
            self._say(
                f"the checkpoint is at epoch {epoch}, batch {batch}, and fit is to train {asked}: nothing is trained"
            )

    def _wrap_train_function(self) -> None:
        model = self._model
        inner = self._train_function = getattr(model.train_function, "holdfast_inner", model.train_function)
        per_call = model.steps_per_execution

        def train(iterator: Any) -> Any:
            if self._iterator() is not iterator and not self._takes(iterator):
                return inner(iterator)
            if self._data.behind:
                self._replay.catch_up(iterator)
            if self._replay.left:
                self._batch += self._replay.drop(iterator, per_call)
                return self._logs
            self._calls += 1
            logs = inner(iterator)
            with self._leaving:  # a process that is being left does nothing more
                self._logs = logs
                self._dirty = True
            done = per_call if self._steps is None else min(per_call, max(1, self._steps - self._batch))
            self._batch += done
            self._step += done
            self._executed += done
            self._session.board.write(Progress(self._executed, self._epoch, self._batch, self._step))
            if self._boundaries.spec is None:
                self._boundaries.spec = spec_of(iterator)
            return logs

        train.holdfast_inner = inner  # type: ignore[attr-defined]
        model.train_function = train

    def _takes(self, iterator: Any) -> bool:
        """A ``fit`` that raises tells its callbacks nothing: one that comes after it, without Resume, is not ours."""
        if runs_in_fit(sys._getframe(), self._callbacks):
            self._iterator = weakref.ref(iterator)
            return True
        self._give_back_model()
        return False

    def _give_back_model(self) -> None:
        self._session.when_pressed = None
        self._model.train_function = self._train_function
        self._model._initial_epoch = None

    # --- epochs and batches ----------------------------------------------------------------------------------------

    def epoch_opens(self) -> None:
        """Before any other callback sees it. Keras has read where to begin; should one raise, no later ``fit`` may."""
        self._model._initial_epoch = None

    def epoch_begins(self, epoch: int) -> None:
        saved, self._saved = self._saved, None
        self._epoch = epoch
        self._batch = 0
        self._begun = True
        within = saved is not None and _is_within(saved, epoch)
        skip = saved.position.batch if saved is not None and within else 0
        self._data.begin_epoch(skip, within, None if saved is None else saved.facts)
        if saved is None or not within:
            return
        # ``fit`` has reset the metrics just before, and this epoch's beginning is seen by the others for a second time
        # (a schedule multiplies the learning rate again): what they did to the state now is undone.
        here = variables.collect(self._model)
        variables.assign(here, what_fits(saved, here), self._say)
        callback_state.set_states(self._others, saved.facts["callbacks"], self._say)
        if skip:
            mute_batch_hooks(self._others, calls=math.ceil(skip / self._model.steps_per_execution))
            self._replay.begin(skip, lambda: self._arrive(saved))
        else:
            self._arrive(saved)

    def _arrive(self, saved: Saved) -> None:
        """The training is where the checkpoint was taken."""
        random_state.set_state(dict(saved.facts["random"]))
        if saved.facts["ended"]:  # in the middle of an epoch, which is left at the next batch's end
            self._model.stop_training = True

    def boundary(self, batch: int) -> None:
        """Between two batches, before any other callback sees the second."""
        if self._replay.left:
            return
        self._batch = batch
        session = self._session
        if session.stopping is not None:
            self._stop(self._position, session.stopping)
        if session.save_asked is not None:
            self._due, session.save_asked = session.save_asked, None
        elif self._cadence.due(self._step - self._last_step, time.monotonic() - self._last_time):
            self._due = self._due or "interval"
        if self._due is not None and self._dirty and not self._writer.busy:
            self._save(self._position, self._due)

    def epoch_ends(self, epoch: int, logs: Any) -> None:
        if self._replay.left:  # nothing is new since the checkpoint, whatever ended the epoch here
            if not self._model.stop_training:  # else a callback did
                self._replay.refuse()
            return
        position = Position(epoch + 1, 0, self._step)
        self._data.end_epoch()
        self._batch = 0
        self._begun = False
        self._epoch = epoch + 1
        self._logs = logs
        last = epoch + 1 >= self._epochs or self._model.stop_training
        self._dirty = True
        if self._session.stopping is not None:
            self._stop(position, self._session.stopping)
        else:
            if last:
                self._writer.wait()
            self._save(position, "last epoch" if last else "epoch", owed=last)

    def validation_begins(self) -> None:
        """``evaluate`` resets the metrics, and may swap weights: what a stop during validation needs is read now."""
        if self._replay.left == 0 and self._dirty:
            self._validating = self._boundary_at(self._position, snapshot.read_all(self._model))

    def during_validation(self) -> None:
        reason = self._session.stopping
        if reason is None:
            return
        with self._leaving:
            if self._validating is None:
                self._stop(self._position, reason)
                return
            self._finish(self._writer.write_now(self._boundaries.draft(self._validating, reason)))

    def validation_ends(self) -> None:
        self._validating = None

    def pressed(self) -> None:
        """In a thread of its own: a stop was asked for a while ago, and the training thread has not come by.

        Where the state of the last boundary is at hand, this thread stores it and ends the process: while the first
        step is being traced or compiled (nothing is new since the start), and during validation.
        """
        with self._leaving:
            reason = self._session.stopping or "stop"
            if self._finishing:
                return
            if self._validating is not None:
                self._leave(self._writer.write_now(self._boundaries.draft(self._validating, reason)))
            if self._calls <= 1 and not self._dirty:
                self._writer.wait()
                self._leave(stored=not self._writer.failed)

    def _leave(self, stored: bool) -> None:
        """Ends the process from another thread than the main one, which may be deep in a compiler."""
        callback_state.flush(self._others)
        self._session.tell_stop(stored)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(Exit.STOPPED if stored else Exit.UNSTORED))

    def train_ends(self) -> None:
        self._writer.wait()
        self._give_back_model()
        self._callbacks.callbacks = [c for c in self._callbacks.callbacks if not isinstance(c, Tail)]
        self._ended()
        history = self._model.history
        done = {"epoch": history.epoch, "history": history.history, "passes": dataset_passes.counts()}
        self._session.fits.append(to_plain(done))
        self._session.step = self._step
        if not self._over:  # else the pair is still a later fit's to go on from
            self._session.resume = None
        self._session.finished(stored=not self._writer.failed)

    # --- saving ----------------------------------------------------------------------------------------------------

    def _save(self, position: Position, reason: str, owed: bool = False) -> None:
        """In the background. What finds no room behind earlier writes is done at a later boundary, if not owed."""
        if not self._writer.has_room(self._size, owed):  # as far as one knows before there is a first
            self._due = reason
            return
        draft = self._take(position, reason)
        self._size = draft.size
        if not self._writer.offer(draft, owed):
            self._due = reason
            return
        self._due = None
        self._dirty = False
        self._last_step, self._last_time = self._step, time.monotonic()

    def _stop(self, position: Position, reason: str) -> None:
        """Saves what is not saved yet, and ends the process."""
        self._writer.wait()
        saved = not self._dirty and not self._writer.failed
        self._finish(saved or self._writer.write_now(self._take(position, reason)))

    def _finish(self, stored: bool) -> None:
        self._finishing = True
        callback_state.flush(self._others)
        self._session.leave(stored)

    def _take(self, position: Position, reason: str) -> Draft:
        flush = getattr(self._callbacks, "_flush_futures", None)
        if flush is not None:
            flush()
        return self._boundaries.draft(self._boundary_at(position), reason)

    def _boundary_at(self, position: Position, held: dict[Place, Any] | None = None) -> Boundary:
        return self._boundaries.at(position, self._begun, self._logs, held)

    @property
    def _position(self) -> Position:
        return Position(self._epoch, self._batch, self._step)

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._session.say(text)

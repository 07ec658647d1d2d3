"""``holdfast.Resume``: saves a training inside ``model.fit`` and goes on from exactly the batch where it stopped.

Where it acts, and why there:

- It stands first in the callback list, and a helper of its own (``_Tail``) last. At ``on_train_batch_begin`` the first
  one sees the boundary between two batches before any other callback has seen the next batch; the last one restores
  after all others have reset themselves, and saves an epoch's end after all others have seen it.
- Both are marked safe for asynchronous dispatch and define no batch-end hook, so ``fit`` runs as fast as without them.
- Batches that are done already are pulled from the data and dropped by a stand-in for the model's train function, so
  Keras counts them as usual; the other callbacks' batch hooks are muted meanwhile.

Keras' own BackupAndRestore is where the use of ``model._initial_epoch`` comes from.
"""

from __future__ import annotations

import inspect
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..core.errors import Exit, HoldfastError, InvalidPair
from ..core.policy import Cadence
from ..spool import Board, Progress
from . import chance, data, facts, others, pair, snapshot, spec, variables
from .pair import Draft, Place, Position, Saved
from .plain import from_plain, to_plain
from .session import Session, open_session
from .variables import is_metric
from .writer import Writer

_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end")


class Resume(keras.callbacks.Callback):
    """Makes a ``fit`` resumable: add it to the callbacks, anywhere in the list.

    Args:
        directory: where to keep pairs when no supervisor runs the script; ``./runs`` if not given.
        every: ``"epoch"``, a number of batches, or a ``datetime.timedelta``. A pair is stored at each epoch's end in
            any case.
        keep: how many pairs to keep in ``directory``. Under the supervisor its own settings decide.

    On a stop (a spot notice, SIGTERM) it saves and raises ``SystemExit(75)``; with 74 the state could not be written.
    Raises ``holdfast.core.errors.Mismatch`` if the newest checkpoint does not fit the model.
    """

    async_safe = True

    def __init__(
        self, directory: str | os.PathLike[str] | None = None, every: str | int | timedelta = "epoch", keep: int = 5
    ) -> None:
        super().__init__()
        self._cadence = Cadence.of(every)
        self._directory = directory
        self._keep = keep
        self._session: Session | None = None
        self._fit: _Fit | None = None

    # The hooks below are Keras'. Each of them does nothing outside of a ``fit`` that this callback arranged.

    def set_params(self, params: Any) -> None:
        super().set_params(params)
        callbacks, local = _surroundings(self)
        if callbacks is None or local is None:
            return
        self._session = open_session(self._directory, self._keep, epochs=params.get("epochs"))
        self._fit = _Fit(self, self._session, Writer(self._session), self._cadence, callbacks, local)
        self._fit.read_checkpoint()

    def on_train_begin(self, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.append_tail()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.boundary(batch)

    def on_test_begin(self, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.validation_begins()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.during_validation()

    def ended(self) -> None:
        self._fit = None


class _Tail(keras.callbacks.Callback):
    """The last callback in the list: it acts when all the others have."""

    async_safe = True

    def __init__(self, fit: _Fit) -> None:
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


@dataclass(frozen=True)
class _Boundary:
    """What must be known of the last batch boundary while validation changes metrics, and maybe swaps weights."""

    position: Position
    metrics: dict[str, float]
    held: dict[Place, Any]
    others: list[Any]


class _Fit:
    """One call of ``fit``, from its first hook to its last."""

    def __init__(
        self,
        head: Resume,
        session: Session,
        writer: Writer,
        cadence: Cadence,
        callbacks: keras.callbacks.CallbackList,
        local: dict[str, Any],
    ) -> None:
        self._head = head
        self._session = session
        self._writer = writer
        self._cadence = cadence
        self._callbacks = callbacks
        self._model: keras.Model = head.model
        self._epochs = int(head.params.get("epochs") or 0)
        self._steps: int | None = head.params.get("steps")
        self._over = False
        self._one_iterator = local.get("steps_per_epoch") is not None
        self._drawn = 0
        self._saved: Saved | None = None
        self._others: list[Any] = []
        self._epoch = 0
        self._batch = 0
        self._step = session.step
        self._first_epoch = True
        self._to_drop = 0
        self._to_drop_before = 0
        self._dirty = False
        self._calls = 0
        self._finishing = False
        self._leaving = threading.Lock()
        self._due: str | None = None
        self._last_step = 0
        self._last_time = time.monotonic()
        self._validating: _Boundary | None = None
        self._logs: Any = None
        self._spec: Any = None
        self._said: set[str] = set()
        self._train_function: Callable[[Any], Any] | None = None
        self._executed = Board.read(session.spool.file(Board.FILE)).executed

    # --- the beginning ---------------------------------------------------------------------------------------------

    def read_checkpoint(self) -> None:
        """Before any ``on_train_begin``: some callbacks need to know that they go on."""
        saved = pair.load_newest(self._session, facts.checked)
        fit = len(self._session.fits)
        if saved is None or fit > saved.facts["fit"]:
            return
        self._saved = saved
        if fit < saved.facts["fit"]:
            self._over = True
        else:
            others.continue_csv_files(self._callbacks.callbacks, saved.facts["callbacks"])

    def append_tail(self) -> None:
        """Appended while Keras goes through the list, so its ``on_train_begin`` comes last."""
        tail = _Tail(self)
        tail.set_model(self._model)
        tail.set_params(self._head.params)
        self._callbacks.callbacks.append(tail)

    def train_begins(self) -> None:
        own = (self._head, self._callbacks.callbacks[-1])
        self._others = [c for c in self._callbacks.callbacks if c not in own]
        self._callbacks.callbacks = [self._head, *self._others, own[1]]
        variables.build_optimizers(self._model)
        data.begin_fit()
        if self._saved is not None and self._over:
            self._pass_over(self._saved)
        elif self._saved is not None:
            try:
                self._restore(self._saved)
            except InvalidPair as error:
                self._session.pass_over(str(error))
                raise  # without a supervisor: too much is set already to try another pair here
            except HoldfastError as error:
                self._session.refuse(str(error))
                raise
        self._wrap_train_function()
        self._session.when_pressed = self.pressed
        self._session.began(self._epochs)

    def _pass_over(self, saved: Saved) -> None:
        """The checkpoint is a later ``fit``'s: this one is done already, and only its history is still of use."""
        variables.assign_what_fits(variables.collect(self._model), dict(saved.values))
        history = saved.facts["fits"][len(self._session.fits)]
        self._model.history.epoch, self._model.history.history = history["epoch"], history["history"]
        self._model._initial_epoch = self._epochs
        self._saved = None

    def _restore(self, saved: Saved) -> None:
        values = dict(saved.values)
        here = variables.collect(self._model)
        if any(place not in here for place in values):
            self._build_by_tracing(saved)
            here = variables.collect(self._model)
        missing_metrics = {place for place in values if is_metric(place) and place not in here}
        if missing_metrics and saved.position.batch:
            self._say("the metrics of the resumed epoch begin anew: they are made later than can be restored")
        fitting = {place: value for place, value in values.items() if place not in missing_metrics}
        variables.assign(here, fitting, self._say)
        others.set_states(self._others, saved.facts["callbacks"], self._say)
        chance.set_state(dict(saved.facts["random"]))
        self._drawn = int(saved.facts["drawn"])
        position = saved.position
        self._epoch, self._batch, self._step = position.epoch, position.batch, position.step
        self._last_step = position.step
        ended = bool(saved.facts["ended"])  # by EarlyStopping, say: training on would not be the same training
        self._model._initial_epoch = self._epochs if ended else position.epoch

    def _build_by_tracing(self, saved: Saved) -> None:
        """Creates the variables that the first step would create, by tracing it over no data at all.

        The trace is kept by TensorFlow and serves the training afterwards, so nothing is traced twice.
        """
        plain = saved.facts.get("spec")
        if plain is None:
            return
        empty = spec.empty_dataset(from_plain(plain))
        try:
            self._model.train_function(iter(empty))
        except (StopIteration, tf.errors.OutOfRangeError):
            pass
        except Exception as error:
            raise HoldfastError(
                f"the model cannot be built to receive its checkpoint: {error}; build it before fit, by "
                "keras.Input as the first layer or by a call on a batch of data"
            ) from error
        if self._model.run_eagerly:
            self._build_eager_model(empty)
        variables.build_optimizers(self._model)

    def _build_eager_model(self, empty: Any) -> None:
        """An eager function makes nothing without data; as a graph its step can be traced. Else metrics begin anew."""
        try:
            tf.function(self._model.train_step).get_concrete_function(empty.element_spec)
        except Exception as error:
            self._say(f"the model's eager step could not be traced ({type(error).__name__}) to restore its metrics")

    def _wrap_train_function(self) -> None:
        model = self._model
        inner = self._train_function = getattr(model.train_function, "holdfast_inner", model.train_function)
        per_call = model.steps_per_execution

        def train(iterator: Any) -> Any:
            while self._to_drop_before:
                next(iterator)
                self._to_drop_before -= 1
            if self._to_drop:
                return self._drop(iterator, per_call)
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
            if self._spec is None:
                self._spec = _spec_of(iterator)
            return logs

        train.holdfast_inner = inner  # type: ignore[attr-defined]
        model.train_function = train

    # --- epochs and batches ----------------------------------------------------------------------------------------

    def epoch_begins(self, epoch: int) -> None:
        saved, self._saved = self._saved, None
        self._epoch = epoch
        resumed = saved is not None and saved.position.batch > 0 and epoch == saved.position.epoch
        self._batch = 0
        skip = saved.position.batch if resumed and saved is not None else 0
        self._begin_data(skip, saved)
        if not skip or saved is None:
            return
        self._saved = saved
        self._to_drop = skip
        # ``fit`` has reset the metrics just before, and this epoch's beginning is seen by the others for a second time
        # (a schedule multiplies the learning rate again): what they did to the state now is undone.
        here = variables.collect(self._model)
        values = {place: value for place, value in saved.values.items() if place in here or not is_metric(place)}
        variables.assign(here, values, self._say)
        others.set_states(self._others, saved.facts["callbacks"], self._say)
        self._mute_others(math.ceil(self._to_drop / self._model.steps_per_execution))

    def _begin_data(self, skip: int, saved: Saved | None) -> None:
        """With ``steps_per_epoch`` Keras draws from one iterator across epochs, made in the first of them."""
        position = None if saved is None else saved.facts.get("data")
        if not self._one_iterator:
            data.begin_iterator(0, skip, position)
        elif self._first_epoch:
            self._to_drop_before = data.begin_iterator(self._drawn, skip, position)
        self._first_epoch = False

    def _drop(self, iterator: Any, per_call: int) -> Any:
        for _ in range(per_call):
            if self._to_drop:
                try:
                    next(iterator)
                except (StopIteration, tf.errors.OutOfRangeError):
                    self._to_drop = 0  # the last call of an epoch of unknown size counts in full
                    break
                self._to_drop -= 1
                self._batch += 1
        assert self._saved is not None
        if self._to_drop:
            return self._saved.facts["logs"]
        saved, self._saved = self._saved, None
        if data.position(next_epoch=False) is None:
            self._say(
                "resuming at the right batch, but this data may come in another order than before, so some samples of "
                "this epoch may be seen twice and others not at all (holdfast.dataset(x, y, batch_size=, seed=) is "
                "exact)"
            )
        chance.set_state(dict(saved.facts["random"]))
        self._logs = saved.facts["logs"]
        return self._logs

    def _mute_others(self, calls: int) -> None:
        """The other callbacks do not see the batches that are dropped. Each muted hook counts, and unmutes itself."""
        for callback in self._others:
            if isinstance(callback, keras.callbacks.ProgbarLogger):
                continue
            for hook in _BATCH_HOOKS:
                _mute(callback, hook, calls)

    def boundary(self, batch: int) -> None:
        """Between two batches, before any other callback sees the second."""
        if self._to_drop:
            return
        self._batch = batch
        session = self._session
        if session.stopping is not None:
            self._stop(Position(self._epoch, batch, self._step), session.stopping)
        if session.save_asked is not None:
            self._due, session.save_asked = session.save_asked, None
        elif self._cadence.due(self._step - self._last_step, time.monotonic() - self._last_time):
            self._due = self._due or "interval"
        if self._due is not None and self._dirty and not self._writer.busy:
            self._save(Position(self._epoch, batch, self._step), self._due)

    def epoch_ends(self, epoch: int, logs: Any) -> None:
        position = Position(epoch + 1, 0, self._step)
        self._drawn += self._batch
        self._batch = 0
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
        if self._to_drop == 0 and self._dirty:
            position = Position(self._epoch, self._batch, self._step)
            peeked = others.peek(self._others, self._say)
            self._validating = _Boundary(position, _floats(self._logs), snapshot.read_all(self._model), peeked)

    def during_validation(self) -> None:
        reason = self._session.stopping
        if reason is None:
            return
        with self._leaving:
            if self._validating is None:
                self._stop(Position(self._epoch, self._batch, self._step), reason)
                return
            self._finish(self._writer.write_now(self._draft_of(self._validating, reason)))

    def _draft_of(self, boundary: _Boundary, reason: str) -> Draft:
        told = self._facts(boundary.others)
        return snapshot.take(self._model, boundary.position, reason, boundary.metrics, told, self._say, boundary.held)

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
                self._leave(self._writer.write_now(self._draft_of(self._validating, reason)))
            if self._calls <= 1 and not self._dirty:
                self._writer.wait()
                self._leave(stored=True)

    def _leave(self, stored: bool) -> None:
        """Ends the process from another thread than the main one, which may be deep in a compiler."""
        others.flush(self._others)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(Exit.STOPPED if stored else Exit.UNSTORED))

    def train_ends(self) -> None:
        self._session.when_pressed = None
        self._writer.wait()
        self._model.train_function = self._train_function
        self._model._initial_epoch = None
        self._callbacks.callbacks = [c for c in self._callbacks.callbacks if not isinstance(c, _Tail)]
        self._head.ended()
        history = self._model.history
        self._session.fits.append(to_plain({"epoch": history.epoch, "history": history.history}))
        self._session.step = self._step
        self._session.finished()

    # --- saving ----------------------------------------------------------------------------------------------------

    def _save(self, position: Position, reason: str, owed: bool = False) -> None:
        """In the background. What finds no room behind earlier writes is done at a later boundary, if not owed."""
        if not self._writer.offer(self._take(position, reason), owed):
            self._due = reason
            return
        self._due = None
        self._dirty = False
        self._last_step, self._last_time = self._step, time.monotonic()

    def _stop(self, position: Position, reason: str) -> None:
        """Saves what is not saved yet, and ends the process."""
        self._writer.wait()
        self._finish(not self._dirty or self._writer.write_now(self._take(position, reason)))

    def _finish(self, stored: bool) -> None:
        self._finishing = True
        others.flush(self._others)
        raise SystemExit(int(Exit.STOPPED if stored else Exit.UNSTORED))

    def _take(self, position: Position, reason: str) -> Draft:
        flush = getattr(self._callbacks, "_flush_futures", None)
        if flush is not None:
            flush()
        told = self._facts(others.peek(self._others, self._say))
        return snapshot.take(self._model, position, reason, _floats(self._logs), told, self._say)

    def _facts(self, peeked: list[Any]) -> dict[str, Any]:
        return {
            "random": chance.get_state(),
            "callbacks": others.to_entries(self._others, peeked, self._say),
            "logs": _plain_logs(self._logs),
            "data": data.position(next_epoch=self._batch == 0 and not self._one_iterator),
            "drawn": self._drawn,
            "spec": self._spec or None,
            "fit": len(self._session.fits),
            "fits": list(self._session.fits),
            "ended": self._batch == 0 and bool(self._model.stop_training),
        }

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._session.say(text)


def _surroundings(callback: Any) -> tuple[keras.callbacks.CallbackList | None, dict[str, Any] | None]:
    """The callback list that calls us, and the variables of the ``fit`` that made it; None, None outside of ``fit``.

    Keras gives a callback no way to its list, so it is found where it is: in the frames that are calling.
    """
    found = None
    frame = inspect.currentframe()
    for _ in range(12):
        frame = frame.f_back if frame is not None else None
        if frame is None:
            break
        this = frame.f_locals.get("self")
        if isinstance(this, keras.callbacks.CallbackList) and callback in this.callbacks:
            found = this
        elif found is not None and isinstance(this, keras.Model):
            return (found, dict(frame.f_locals)) if frame.f_code.co_name == "fit" else (None, None)
    return None, None


def _mute(callback: Any, hook: str, calls: int) -> None:
    original = getattr(callback, hook)
    had = hook in vars(callback)
    left = [calls]

    def muted(*args: Any, **kwargs: Any) -> None:
        left[0] -= 1
        if left[0] <= 0:
            if had:
                setattr(callback, hook, original)
            else:
                delattr(callback, hook)

    setattr(callback, hook, muted)


def _spec_of(iterator: Any) -> Any:
    """False where it cannot be described, so that it is not tried for each batch."""
    try:
        return spec.to_plain(iterator.element_spec)
    except (TypeError, AttributeError):
        return False


def _plain_logs(logs: Any) -> Any:
    try:
        return to_plain(logs)
    except TypeError:
        return _floats(logs)


def _floats(logs: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in (logs or {}).items() if isinstance(logs, dict) else ():
        try:
            number = np.asarray(value)
        except (TypeError, ValueError):
            continue
        if number.ndim == 0 and number.dtype.kind in "fiub":
            found[str(key)] = float(number)
    return found

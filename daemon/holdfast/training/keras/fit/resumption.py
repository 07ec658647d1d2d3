"""The way of a ``fit`` to the state of its checkpoint: before the first epoch, and once more as that epoch begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ....core.errors import HoldfastError, InvalidPair, one_line
from ....core.wording import count
from ...data.batch_digests import BatchDigests
from ...data.keras_in_use import keras
from ...data.position import DataPosition
from ...data.replay import Replay, too_short
from ...pair.pair_files import Saved
from ...pair.plain import from_plain
from ...session.base import Session
from ...session.identity import Identity
from ...session.load import RATE, Beginning, begin_training
from .. import callback_state, facts, random_state, variables
from ..backends.protocol import HeldOut
from ..internals import mute_batch_hooks
from ..own_values import OwnValues
from ..restore import matching_values, restore_into
from ..watched import Watched
from . import finished_fit, learning_rate, other_backend, recompiled
from .progress import FitProgress


class Resumption:
    """Used once, for one ``fit``."""

    def __init__(
        self,
        watched: Watched,
        own_values: OwnValues,
        session: Session,
        data: DataPosition,
        held_out: HeldOut,
        digests: BatchDigests,
        replay: Replay,
        progress: FitProgress,
        say: Callable[[str], None],
    ) -> None:
        self._watched = watched
        self._own_values = own_values
        self._model: keras.Model = watched.model
        self._session = session
        self._data = data
        self._held_out = held_out
        self._digests = digests
        self._replay = replay
        self._progress = progress
        self._say = say
        self._begun: Beginning | None = None
        self._saved: Saved | None = None
        self._is_of_other_backend = False

    def read(
        self, identity: Identity, callbacks: Sequence[keras.callbacks.Callback], other_backend_too: bool = False
    ) -> None:
        """Before any ``on_train_begin``: some callbacks need to know that the training is a resumed one.

        ``other_backend_too``: one of another backend is to be continued.
        """
        self._begun = begin_training(self._session, identity, self._checked, self._model)
        self._progress.step = self._session.step
        self._saved = self._begun.saved
        if self._saved is not None:
            with self._telling_the_session():
                if other_backend.name_of(self._saved) is not None:
                    self._is_of_other_backend = True
                    name = self._begun.name
                    asked = other_backend_too or (name is not None and other_backend.is_from(self._session, name))
                    self._saved = other_backend.converted(self._saved, self._say, asked)
            callback_state.continue_csv_files(callbacks, self._saved.facts["callbacks"], cut=self._begun.newest)
            callback_state.overwrite_steps(callbacks)

    def _checked(self, saved: Saved) -> Saved:
        """Raises InvalidPair: then an older pair is read."""
        facts.checked(saved)
        self._data.check(saved.facts)
        self._held_out.check(saved.facts)
        return saved

    def train_begins(self, callbacks: Sequence[keras.callbacks.Callback]) -> bool:
        """After all ``on_train_begin``. True if the state is the checkpoint's now. Raises HoldfastError."""
        begun = self._begun
        with self._telling_the_session():
            if self._saved is not None:
                self._restore(self._saved, callbacks)
            elif begun is not None and begun.history is not None:
                finished_fit.skip(self._model, begun.history, self._session)
                self._model._initial_epoch = self._progress.epochs
        return self._saved is not None

    def epoch_begins(self, epoch: int, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """After all ``on_epoch_begin``. Raises HoldfastError."""
        with self._telling_the_session():
            self._enter(epoch, callbacks)

    @contextmanager
    def _telling_the_session(self) -> Iterator[None]:
        begun = self._begun
        try:
            yield
        except InvalidPair as error:
            self._session.mark_unusable(str(error), None if begun is None else begun.name)
            raise  # without a supervisor: too much is set already to try another pair here
        except HoldfastError as error:
            self._session.refuse(str(error))
            raise

    def _enter(self, epoch: int, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        saved, self._saved = self._saved, None
        within = saved is not None and _is_within(saved, epoch)
        skip = saved.position.batch if saved is not None and within else 0
        self._progress.at_end = saved is not None and within and saved.facts.get("at_end", False)
        if saved is not None:
            self._held_out.restore(saved.facts)
        self._data.begin_epoch(skip, within, None if saved is None else saved.facts)
        if saved is None or not within:
            return
        # ``fit`` has reset the metrics just before, and callbacks have seen this epoch's beginning for a second time
        # (a schedule multiplies the learning rate again): what they did to the state now is undone.
        here = self._watched.parts_for(saved.values)
        if self._is_of_other_backend:
            other_backend.assign(here, saved)
        else:
            variables.assign(here, matching_values(saved, here), self._say)
        recompiled.set_again(self._model, saved)
        callback_state.set_states(callbacks, saved.facts["callbacks"], self._say)
        self._own_values.restore(saved.facts.get("own", {}))
        if skip:
            calls = math.ceil(skip / int(self._model.steps_per_execution))
            mute_batch_hooks(callbacks, calls, begun=int(self._progress.at_end))
            self._replay.begin(skip, lambda: self._arrive(saved))
        else:
            self._arrive(saved)

    def _restore(self, saved: Saved, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        position, steps = saved.position, self._progress.steps
        if steps is not None and position.batch > steps:
            raise too_short(steps, position.batch)
        assert self._begun is not None
        if not (self._begun.retried or self._is_over(saved)):
            recompiled.refuse(saved, self._model, self._begun.differences)
        if RATE in self._begun.differences:
            learning_rate.say_changed(self._model, saved, self._begun.retried, self._say)
        self._progress.recompiled = recompiled.is_of_recompiled(saved)
        if self._progress.recompiled and not self._begun.retried:
            recompiled.restore_finished(saved, self._watched.parts(), self._say)
        elif self._is_of_other_backend:
            other_backend.restore(self._watched, saved, self._say)
        else:
            restore_into(self._watched, saved, self._say)
        self._progress.set_in_layers = recompiled.set_again(self._model, saved)
        logs = None if _is_within(saved, position.epoch) else from_plain(saved.facts["logs"])
        callback_state.set_states(callbacks, saved.facts["callbacks"], self._say, logs)
        self._own_values.restore(saved.facts.get("own", {}))
        random_state.set_state(dict(saved.facts["random"]))
        self._held_out.restore_seeds(saved.facts)
        self._data.restore(saved.facts)
        if self._is_over(saved):  # no epoch begins, and a later fit may be given the same data
            self._held_out.restore(saved.facts)
        self._digests.restore(saved.facts, position.epoch, position.batch)
        self._say_differences(saved)
        self._progress.resume_at(position, from_plain(saved.facts["logs"]))
        self._model._initial_epoch = self._progress.epochs if self._is_over(saved) else position.epoch

    def _is_over(self, saved: Saved) -> bool:
        """Ended by EarlyStopping, say, it is over as well: training on would not be the same training."""
        epoch = saved.position.epoch
        return epoch >= self._progress.epochs or (saved.facts["ended"] and not _is_within(saved, epoch))

    def _say_differences(self, saved: Saved) -> None:
        if difference := self._data.difference(saved.facts):
            self._say(difference)
        if lost := saved.facts.get("not_kept"):
            begin, them = ("begins", "it") if len(lost) == 1 else ("begin", "them")
            self._say(f"{one_line(', '.join(lost), 1000)} {begin} anew: the checkpoint does not have {them}")
        epoch, batch = saved.position.epoch, saved.position.batch
        if (epoch, batch) > (self._progress.epochs, 0):
            asked = count(self._progress.epochs, "epoch")
            self._say(
                f"the checkpoint is at epoch {epoch}, batch {batch}, and fit is to train {asked}: nothing is trained"
            )

    def _arrive(self, saved: Saved) -> None:
        """The training is where the checkpoint was taken."""
        random_state.set_state(dict(saved.facts["random"]))
        if saved.facts["ended"]:  # in the middle of an epoch, which is left at the next batch's end
            self._model.stop_training = True


def _is_within(saved: Saved, epoch: int) -> bool:
    """Was it taken after that epoch's beginning, which callbacks have seen? (Older versions did not say.)"""
    return saved.position.epoch == epoch and bool(saved.facts.get("begun", saved.position.batch > 0))

"""``holdfast.Resume``: saves a training inside ``model.fit`` and resumes at exactly the batch where it stopped."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import keras

from ...core.errors import SettingsError
from ...core.policy import Cadence, Retention
from ..session.base import FIT, Session
from ..session.open import open_session
from .fit.fit import Fit
from .fit.identity import fit_identity
from .internals import enclosing_fit, of_keras_2


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
        Retention.of(keep)  # a wrong number is refused here, not in the middle of fit
        self._keep = keep
        self._session: Session | None = None
        self._fit: Fit | None = None

    # The hooks below are Keras'. Each of them does nothing outside of a ``fit`` that this callback arranged.

    def set_params(self, params: Any) -> None:
        super().set_params(params)
        callbacks, frame = enclosing_fit(self)
        if callbacks is None or frame is None:
            if (package := of_keras_2()) is not None:
                self._refuse_keras_2(package)
            return
        if (ours := sum(isinstance(callback, Resume) for callback in callbacks.callbacks)) > 1:
            raise SettingsError(f"this fit has {ours} holdfast.Resume callbacks: give it one")
        self._session = open_session(self._directory, self._keep, epochs=params.get("epochs"))
        self._session.claim(FIT)
        local = dict(frame.f_locals)
        self._fit = Fit(self, self._ended, self._session, self._cadence, callbacks, local)
        self._fit.read_checkpoint(fit_identity(self.model, frame.f_back, local, self._session))

    def on_train_begin(self, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.append_tail()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.epoch_opens()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.boundary(batch)

    def on_test_begin(self, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.validation_begins()

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._fit is not None:
            self._fit.during_validation()

    def _refuse_keras_2(self, package: str) -> None:
        error = (
            f"this fit is {package}'s, which is Keras 2, and holdfast.Resume works with Keras 3: import keras, and "
            "unset TF_USE_LEGACY_KERAS"
        )
        open_session(self._directory, self._keep).refuse(error)
        raise SettingsError(error)

    def _ended(self) -> None:
        self._fit = None

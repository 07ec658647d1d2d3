"""``holdfast.Resume``: saves a training inside ``model.fit`` and resumes at exactly the batch where it stopped."""

from __future__ import annotations

import importlib
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from ...core.errors import SettingsError
from ...core.policy import Cadence, Retention
from ..data.keras_in_use import calling, expected, use
from ..session import detect_unprotected
from ..session.base import FIT, Session
from ..session.open import open_session

if TYPE_CHECKING:
    from keras.callbacks import Callback

    from .fit.fit import Fit
else:
    Callback = importlib.import_module(expected()).callbacks.Callback


_OTHER_COUNT = (
    "this process trains in a cluster of {processes}, and holdfast run was told of {ranks}: start each machine by "
    "'holdfast run --rank N --ranks {processes}', and join the cluster before fit (docs/many-machines.md)"
)


class Resume(Callback):
    """Makes a ``fit`` resumable: add it to the callbacks, anywhere in the list.

    Args:
        directory: where to keep pairs when no supervisor runs the script; ``./runs`` if not given.
        every: ``"epoch"``, a number of batches, a ``datetime.timedelta``, or such a time as text (``"10m"``); by
            default what ``holdfast run --every`` says, and else ``"epoch"``. A pair is stored at each epoch's end in
            any case.
        keep: how many pairs to keep in ``directory``. Under the supervisor its own settings decide.
        other_backend: continue a checkpoint that was taken with another backend of Keras, too, not bit for bit.

    On a stop (a spot notice, SIGTERM) it saves and raises ``SystemExit(75)``; with 74 the state could not be written.
    Raises ``holdfast.core.errors.Mismatch`` if the newest checkpoint does not fit the model.
    """

    async_safe = True
    _supports_tf_logs = True

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        every: str | int | timedelta | None = None,
        keep: int = 5,
        other_backend: bool = False,
    ) -> None:
        super().__init__()
        self._cadence = None if every is None else Cadence.of(every)
        self._directory = directory
        Retention.of(keep)  # a wrong number is refused here, not in the middle of fit
        self._keep = keep
        self._other_backend = other_backend
        self._session: Session | None = None
        self._fit: Fit | None = None

    # The hooks below are Keras'. Outside of a ``fit`` that this callback arranged, the others do nothing.

    def _implements_train_batch_hooks(self) -> bool:
        return True

    _implements_test_batch_hooks = _implements_train_batch_hooks

    def _implements_predict_batch_hooks(self) -> bool:
        return False

    def set_params(self, params: Any) -> None:
        super().set_params(params)
        self._begin()

    def _begin(self) -> None:
        """What serves a ``fit`` is loaded here: it is made for the Keras that calls us."""
        if (name := calling(sys._getframe())) is None:
            return
        try:
            use(name)
        except SettingsError as error:
            self._refuse(str(error))
        from .backends.chosen import backend, refusal, variables_of
        from .fit.fit import Fit
        from .fit.identity import fit_identity
        from .internals import enclosing_fit

        callbacks, frame = enclosing_fit(self)
        if callbacks is None or frame is None:
            return
        local = variables_of(frame)
        if (why := refusal() or backend().refusal(self.model, local.get("epoch_iterator"))) is not None:
            self._refuse(why)
        if (ours := sum(isinstance(callback, Resume) for callback in callbacks.callbacks)) > 1:
            raise SettingsError(f"this fit has {ours} holdfast.Resume callbacks: give it one")
        if self.model is not local["self"]:
            self.set_model(local["self"])
        if "epoch_iterator" in local:  # a ``fit`` of the model's own may have none
            steps = local["epoch_iterator"].num_batches
            super().set_params({**(self.params or {}), "epochs": local["epochs"], "steps": steps})
        self._session = open_session(self._directory, self._keep, epochs=self.params.get("epochs"))
        if (processes := backend().processes()) != self._session.ranks:
            self._refuse(_OTHER_COUNT.format(processes=processes, ranks=self._session.ranks))
        self._session.claim(FIT)
        detect_unprotected.resumes()
        cadence = self._cadence or Cadence.parse(self._session.every)
        self._fit = Fit(self, self._ended, self._session, cadence, callbacks, local)
        identity = fit_identity(self.model, frame.f_back, local, self._session)
        self._fit.read_checkpoint(identity, self._other_backend)

    def on_train_begin(self, logs: Any = None) -> None:
        if self._fit is None:  # a CallbackList that the script made itself gives its parameters outside of fit
            self._begin()
        if self._fit is None:
            self._refuse(
                "holdfast.Resume works in the callbacks that fit was given, and nowhere else: nothing would be saved "
                "here. Use holdfast.session() in a loop of your own"
            )
        else:
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

    def _refuse(self, error: str) -> NoReturn:
        open_session(self._directory, self._keep).refuse(error)
        raise SettingsError(error)

    def _ended(self) -> None:
        self._fit = None

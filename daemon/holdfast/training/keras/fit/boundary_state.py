"""The state at a boundary between two batches of ``fit``, and the draft that is made of it, at once or later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ....core.artifacts import FOLDER
from ...data.batch_digests import BatchDigests
from ...data.keras_in_use import keras
from ...data.position import DataPosition
from ...pair.pair_files import Draft, Place, Position
from ...session.base import Session
from ...session.ledger import Ledger
from .. import callback_state, random_state, snapshot
from ..backends.chosen import backend
from ..backends.protocol import HeldOut
from ..internals import floats, flush_hooks, plain_logs
from ..own_values import OwnValues
from ..watched import Watched
from .callback_files import artifacts_of
from .progress import FitProgress
from .recompiled import FACT, SETTINGS, WARNING, Compiled


@dataclass(frozen=True)
class Boundary:
    """What a step or validation changes. ``values`` are the variables'; None: they are still to be read."""

    position: Position
    values: dict[Place, Any] | None
    callback_states: list[Any]
    own_values: dict[str, Any]
    lost: list[str]
    random: dict[str, Any]
    data: dict[str, Any]
    ended: bool
    begun: bool
    at_end: bool
    logs: Any


class BoundaryReader:
    """Reads the state of one ``fit``: of its model, its data and its ``callbacks`` but ours, in ``callback_list``."""

    def __init__(
        self,
        watched: Watched,
        own_values: OwnValues,
        data: DataPosition,
        held_out: HeldOut,
        digests: BatchDigests,
        session: Session,
        callback_list: keras.callbacks.CallbackList,
        callbacks: Sequence[keras.callbacks.Callback],
        progress: FitProgress,
        say: Callable[[str], None],
    ) -> None:
        self._watched = watched
        self._own_values = own_values
        self._data = data
        self._held_out = held_out
        self._digests = digests
        self._session = session
        self._callback_list = callback_list
        self._callbacks = callbacks
        self._progress = progress
        self._say = say
        self._stepped = False
        self._compiled: Compiled | None = None

    def begin(self) -> None:
        """All callbacks have seen the training begin."""
        self._compiled = Compiled(self._watched.model)

    def first_step_done(self) -> None:
        if self._compiled is not None:
            self._compiled.built()

    def read(self, with_values: bool = False) -> Boundary:
        """The state now. Without values the draft reads them, so it must be made before the next step."""
        progress = self._progress
        if progress.calls and not self._stepped:
            self._stepped = True
            self._watched.look_again()  # the first step has made variables
        self._watched.look_for_others()
        return Boundary(
            position=progress.position,
            values=snapshot.read_all(self._watched) if with_values else None,
            callback_states=callback_state.read_states(self._callbacks),
            own_values=self._own_values.read(within_epoch=progress.batch > 0 and not progress.at_end),
            lost=self._own_values.lost,
            # In this order: what is drawn meanwhile is known to the data.
            random={
                **random_state.get_state(),
                **self._held_out.random_state(),
                **self._data.random_state(progress.begun, progress.batch),
            },
            data={
                **self._data.facts(progress.begun, progress.batch),
                **self._held_out.facts(),
                "digests": self._digests.facts(),
            },
            ended=bool(self._watched.model.stop_training),
            begun=progress.begun,
            at_end=progress.at_end,
            logs=progress.logs,
        )

    def draft_now(self, reason: str) -> Draft:
        flush_hooks(self._callback_list)
        return self.draft(self.read(), reason)

    def draft(self, boundary: Boundary, reason: str) -> Draft:
        callback_state.flush_logs(self._callbacks)
        facts, metrics = self._facts(boundary), floats(boundary.logs)
        needs, artifacts = self._ledger.needs(), artifacts_of(self._callbacks, self._session.spool.file(FOLDER))
        draft = snapshot.take(
            self._watched,
            boundary.position,
            reason,
            metrics,
            facts,
            self._say,
            boundary.values,
            needs,
            artifacts,
            self._way_of_data(),
        )
        return replace(draft, fit=self._ledger.current_index + 1)

    def _way_of_data(self) -> str:
        """Said once a run: pairs may take turns, where one of them would have taken too long."""
        way = self._data.way
        if way not in self._session.ways:
            self._session.ways.add(way)
            self._session.say(f"the position in the data is saved as {way}", warning=False)
        return way

    def _facts(self, boundary: Boundary) -> dict[str, Any]:
        return {
            "backend": backend().name,
            "random": boundary.random,
            "callbacks": callback_state.to_entries(self._callbacks, boundary.callback_states, self._say),
            "own": boundary.own_values,
            "not_kept": boundary.lost,
            "logs": plain_logs(boundary.logs),
            **boundary.data,
            "at_end": boundary.at_end,
            "begun": boundary.begun,
            "spec": self._progress.spec or None,
            **self._ledger.facts(),
            "ended": boundary.ended,
            **self._compile_facts(),
        }

    def _compile_facts(self) -> dict[str, Any]:
        progress = self._progress
        settings = None
        if not progress.recompiled and self._compiled is not None:
            settings = self._compiled.settings(progress.remade, progress.set_in_layers)
            if settings is None:
                progress.recompiled = True
                self._say(WARNING)
        if progress.recompiled:
            return {FACT: True}
        return {SETTINGS: settings} if settings else {}

    @property
    def _ledger(self) -> Ledger:
        assert self._session.ledger is not None
        return self._session.ledger

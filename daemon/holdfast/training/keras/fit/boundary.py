"""The state at a boundary between two batches of ``fit``, and the draft that is made of it, at once or later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from ...data.position import DataPosition
from ...pair.pair import Draft, Place, Position
from ...session.base import Session
from .. import callback_state, random_state, snapshot
from ..internals import floats, plain_logs


@dataclass(frozen=True)
class Boundary:
    """What a step or validation changes. ``held`` are the variables' values; None: they are still to be read."""

    position: Position
    held: dict[Place, Any] | None
    others: list[Any]
    random: dict[str, Any]
    place: dict[str, Any]
    ended: bool
    begun: bool
    logs: Any


class Boundaries:
    """Those of one ``fit``, with the other callbacks that it has. ``spec`` describes its batches, once it is known."""

    def __init__(
        self,
        model: keras.Model,
        data: DataPosition,
        session: Session,
        callbacks: Sequence[keras.callbacks.Callback],
        say: Callable[[str], None],
    ) -> None:
        self._model = model
        self._data = data
        self._session = session
        self._others = callbacks
        self._say = say
        self.spec: Any = None

    def at(self, position: Position, begun: bool, logs: Any, held: dict[Place, Any] | None = None) -> Boundary:
        """``begun``: callbacks have seen the beginning of the epoch that this is in."""
        peeked = callback_state.peek(self._others, self._say)
        place = self._data.facts(within_epoch=begun)
        ended = bool(self._model.stop_training)
        return Boundary(position, held, peeked, random_state.get_state(), place, ended, begun, logs)

    def draft(self, boundary: Boundary, reason: str) -> Draft:
        told, metrics = self._facts(boundary), floats(boundary.logs)
        return snapshot.take(self._model, boundary.position, reason, metrics, told, self._say, boundary.held)

    def _facts(self, boundary: Boundary) -> dict[str, Any]:
        return {
            "random": boundary.random,
            "callbacks": callback_state.to_entries(self._others, boundary.others, self._say),
            "logs": plain_logs(boundary.logs),
            **boundary.place,
            "begun": boundary.begun,
            "spec": self.spec or None,
            "fit": len(self._session.fits),
            "fits": list(self._session.fits),
            "ended": boundary.ended,
        }

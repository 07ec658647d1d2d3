"""A ``fit`` that an earlier process finished under an early version of holdfast, which kept its history and no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....core.errors import InvalidPair
from ...data import dataset_passes
from ...data.keras_in_use import keras
from ...pair.pair_files import load_from
from ...pair.plain import from_plain
from ...session.base import Session
from .. import variables


def skip(model: keras.Model, known: Mapping[str, Any], session: Session) -> None:
    """Gives ``model`` the history that is ``known``, and the newest pair's weights if they can be its own.

    Raises InvalidPair.
    """
    history = from_plain(dict(known))
    try:
        model.history.epoch, model.history.history = history["epoch"], history["history"]
    except KeyError:
        raise InvalidPair("its .pkl is malformed: a fit without a history") from None
    dataset_passes.set_counts(history.get("passes", ()))
    session.say(
        "this fit was finished by an early version of holdfast, which did not keep its final weights. It is not "
        "trained again, so evaluate, predict or save before the next fit use other weights"
    )
    if session.resume is None:
        return
    values = dict(load_from(session.spool, session.resume).values)
    parts = variables.collect(model)
    if not variables.without_counterpart(parts, values):
        variables.assign_matching(parts, values)

"""A ``fit`` that an earlier process finished: the checkpoint is of a later ``fit``, so this one is skipped."""

from __future__ import annotations

import keras

from ...data import dataset_passes
from ...pair.pair import Saved
from ...pair.plain import from_plain
from ...session.base import Session
from .. import variables


def skip(model: keras.Model, saved: Saved, session: Session) -> None:
    """Gives ``model`` the history of this ``fit``, and the checkpoint's weights if they can be its own.

    The weights at this ``fit``'s end are in no checkpoint: a line says so. Raises InvalidPair.
    """
    done = len(session.fits)
    history = from_plain(saved.facts["fits"][done])
    model.history.epoch, model.history.history = history["epoch"], history["history"]
    dataset_passes.set_counts(history.get("passes", ()))
    if not done:
        session.say(
            f"the script is at its fit {saved.facts['fit'] + 1}: those before it are not trained again, and the "
            "weights at their ends are not kept. What the script does in between (evaluate, predict, save) sees other "
            "weights; results of an earlier fit are best stored under holdfast.run_dir() / 'artifacts' when it ends"
        )
    parts, values = variables.collect(model), dict(saved.values)
    alone = variables.without_counterpart(parts, values)
    if alone:
        session.say(
            f"fit {done + 1}'s model is not the checkpoint's ({alone[0]} has no counterpart there): it has the weights "
            "that the script gave it"
        )
    else:
        variables.assign_matching(parts, values)

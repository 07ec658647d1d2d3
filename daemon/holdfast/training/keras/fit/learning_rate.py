"""What a resumed ``fit`` does about a learning rate that the script has changed since its checkpoint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ....core.errors import Mismatch
from ...data.keras_in_use import keras
from ...pair.pair_files import Saved
from ..variables import BESIDE, OPTIMIZER, collect, value_of
from .progress import number_in

_NAME = "learning_rate"


def say_changed(model: keras.Model, saved: Saved, retried: bool, say: Callable[[str], None]) -> None:
    """Says which one is used, and how to get the other. Call it before anything is restored.

    Of a fit that is ``retried`` in the same process the optimizer may have trained on: then its rate is no setting.
    Raises Mismatch if one is a schedule and the other is not.
    """
    optimizer = model.optimizer
    if retried and number_in(value_of(optimizer.iterations)):
        return
    groups = (OPTIMIZER, f"{OPTIMIZER}{BESIDE}")
    kept = [value for place, (path, value) in saved.values.items() if place.group in groups and _is_rate(path)]
    here = [part for place, part in collect(model).items() if place.group in groups and _is_rate(part.path)]
    if bool(kept) is not bool(here):
        before, now = ("a number", "a schedule") if kept else ("a schedule", "a number")
        raise Mismatch(
            f"the learning rate was {before}, and is {now} in the script: give the optimizer {before}, and change the "
            "rate in a callback (keras.callbacks.LearningRateScheduler), or start a new run under another name"
        )
    if not kept:
        say("the learning rate's schedule is not the checkpoint's: the script's is used from here on")
        return
    script, used = float(np.asarray(here[0].read())), float(kept[0])
    if script != used:
        remedy = f"keras.callbacks.LearningRateScheduler(lambda epoch: {script:.6g})"
        say(
            f"the script's learning rate is {script:.6g} now, and the checkpoint's {used:.6g} is used. To train with "
            f"the script's, set it as an epoch begins: {remedy}"
        )


def _is_rate(path: str) -> bool:
    return path.rpartition("/")[2].split(":")[0] == _NAME

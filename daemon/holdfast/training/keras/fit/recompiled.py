"""A model that a callback compiles anew within its ``fit``: a later start has the script's own ``compile`` instead."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras

from ....core.errors import Mismatch
from ...pair.pair import Place, Saved
from .. import variables
from ..variables import Part

FACT = "recompiled"
_REMEDY = "call fit once for each compile(), with initial_epoch="
WARNING = (
    "a callback has compiled the model anew within fit: a later start would have the script's own compile() again, so "
    f"it cannot resume from here on. {_REMEDY}"
)


class Compiled:
    """What ``compile`` has made, as a ``fit`` begins. It keeps none of it alive."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._before = [None if one is None else weakref.ref(one) for one in self._now()]

    def is_another(self) -> bool:
        before = [None if one is None else one() for one in self._before]
        return any(one is not now for one, now in zip(before, self._now(), strict=True))

    def _now(self) -> tuple[Any, ...]:
        model = self._model
        return tuple(getattr(model, name, None) for name in ("optimizer", "_compile_loss", "_compile_metrics"))


def is_of_recompiled(saved: Saved) -> bool:
    return saved.facts.get(FACT) is True


def refuse(saved: Saved, model: keras.Model, differences: Sequence[str]) -> None:
    """Raises Mismatch for a state that this start's ``compile`` does not lead to. Its slots may well have the shapes of
    another optimizer's.
    """
    if is_of_recompiled(saved):
        raise Mismatch(
            "the checkpoint was taken after a callback had compiled the model anew within fit, and this start has the "
            f"script's own compile() again: {_REMEDY}. Start a new run under another name"
        )
    if "optimizer" in differences:
        raise Mismatch(
            f"the script's optimizer is {type(model.optimizer).__name__}, and the checkpoint is of another one: "
            "compile the model with that one, or start a new run under another name"
        )


def restore_finished(saved: Saved, parts: dict[Place, Part], say: Callable[[str], None]) -> None:
    """Of a fit with nothing left to train: weights, and what else has a counterpart."""
    variables.assign_matching(parts, dict(saved.values))
    say(
        "a callback compiled the model anew within this fit, which is over: its weights are restored, and its "
        "optimizer's state is not"
    )

"""A model that a callback compiles or changes within its ``fit``: a later start has the script's own instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ....core.errors import Mismatch
from ...data.keras_in_use import keras
from ...pair.pair_files import Place, Saved
from .. import variables
from ..backends.chosen import backend
from ..variables import Part
from .identity import compile_settings, compiled, loss_settings, schedule, settings_of

FACT = "recompiled"
_REMEDY = "call fit once for each compile(), with initial_epoch="
WARNING = (
    "a callback has compiled the model anew, or changed settings of its layers, within fit: a later start would have "
    f"the script's own again, so it cannot resume from here on. {_REMEDY}"
)


class Compiled:
    """How the model is compiled as a ``fit`` begins, and its layers' settings. What is compiled the same way once more
    may be resumed.

    A changed layer setting (trainable, a rate) matters only where the train function was ``remade``: a compiled one
    keeps the value that it has read. What a callback sets in a loss without ``compile`` is watched elsewhere.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._before = compile_settings(model)
        self._made = compiled(model)
        self._loss = loss_settings(model)
        self._read = [settings_of(model), schedule(model)]

    def is_another(self, remade: bool) -> bool:
        model = self._model
        with backend().readable(model):
            if compile_settings(model) != self._before:
                return True
            anew = any(now is not before for now, before in zip(compiled(model), self._made, strict=True))
            if anew and loss_settings(model) != self._loss:
                return True
            return remade and [settings_of(model), schedule(model)] != self._read


def is_of_recompiled(saved: Saved) -> bool:
    return saved.facts.get(FACT) is True


def refuse(saved: Saved, model: keras.Model, differences: Sequence[str]) -> None:
    """Raises Mismatch for a state that this start's ``compile`` does not lead to. Its slots may well have the shapes of
    another optimizer's.
    """
    if is_of_recompiled(saved):
        raise Mismatch(
            "the checkpoint was taken after a callback had compiled the model anew, or changed settings of its layers, "
            f"within fit, and this start has the script's own again: {_REMEDY}. Start a new run under another name"
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
        "a callback compiled the model anew, or changed settings of its layers, within this fit, which is over: its "
        "weights are restored, and the rest is the script's own again"
    )

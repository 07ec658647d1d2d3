"""A model that a callback compiles or changes within its ``fit``: a later start has the script's own instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ....core.errors import InvalidPair, Mismatch
from ...data.keras_in_use import keras
from ...pair.pair_files import Place, Saved
from .. import variables
from ..backends.chosen import backend
from ..variables import Part
from .identity import compile_settings, compiled, config_of, layers_of, loss_settings, schedule, settings_of

FACT = "recompiled"
SETTINGS = "settings"
_REMEDY = "call fit once for each compile(), with initial_epoch="
WARNING = (
    "a callback has compiled the model anew, or changed settings of its layers, within fit: a later start would have "
    f"the script's own again, so it cannot resume from here on. {_REMEDY}"
)


class Compiled:
    """How the model is compiled as a ``fit`` begins, and its layers' settings. What is compiled the same way once more
    may be resumed.

    A changed layer setting (trainable, a rate) matters where the train function was ``remade``, as a compiled one keeps
    the value that it has read; and where steps run eagerly. Those settings that are numbers can be set again there.
    What a callback sets in a loss without ``compile`` is watched elsewhere.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._before = compile_settings(model)
        self._made = compiled(model)
        self._loss = loss_settings(model)
        self._schedule = schedule(model)
        self._layers = settings_of(model)
        self._configs = _configs(model)

    def is_another(self, remade: bool) -> bool:
        model = self._model
        with backend().readable(model):
            if compile_settings(model) != self._before:
                return True
            anew = any(now is not before for now, before in zip(compiled(model), self._made, strict=True))
            if anew and loss_settings(model) != self._loss:
                return True
            eager = backend().runs_eagerly(model)
            if (remade or eager) and schedule(model) != self._schedule:
                return True
            if eager:
                return self.numbers_set({}) is None
            return remade and settings_of(model) != self._layers

    def numbers_set(self, kept: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]] | None:
        """What a callback has set in layers, by their numbers, and what ``kept`` has; None if it is more than numbers.
        Empty where steps have read it before.
        """
        if not backend().runs_eagerly(self._model):
            return {}
        layers, configs = layers_of(self._model), _configs(self._model)
        if len(configs) != len(self._configs):
            return None
        found = {number: {key: getattr(layers[number], key) for key in keys} for number, keys in kept.items()}
        for number, (layer, before, now) in enumerate(zip(layers, self._configs, configs, strict=True)):
            for key in before.keys() | now.keys():
                if before.get(key) == now.get(key) or isinstance(getattr(layer, key, None), keras.Layer):
                    continue  # a layer inside comes by itself
                if not (_is_number(now.get(key)) and now[key] == getattr(layer, key, None)):
                    return None
                found.setdefault(number, {})[key] = now[key]
        return found


def _configs(model: keras.Model) -> list[dict[str, Any]]:
    configs = [{} if isinstance(layer, keras.Model) else config_of(layer) for layer in layers_of(model)]
    return [config if isinstance(config, dict) else {} for config in configs]


def _is_number(value: Any) -> bool:
    return type(value) in (bool, int, float)


def set_again(model: keras.Model, saved: Saved) -> dict[int, dict[str, Any]]:
    """What ``numbers_set`` gave, which it returns; nothing in older pairs. Raises InvalidPair for anything else."""
    settings, layers = saved.facts.get(SETTINGS, {}), layers_of(model)
    try:
        for number, keys in settings.items():
            for key, value in keys.items():
                layer = layers[number]
                if not (_is_number(value) and key in config_of(layer) and _is_number(getattr(layer, key))):
                    raise TypeError(f"layer {number} has no number of such a name")
                setattr(layer, key, value)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise InvalidPair(f"the .pkl's settings of layers are malformed: {error}") from None
    return dict(settings)


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

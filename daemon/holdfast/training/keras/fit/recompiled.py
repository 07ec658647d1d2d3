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
from .identity import compile_settings, compiled, config_of, layers_of, loss_settings, schedule

FACT = "recompiled"
SETTINGS = "settings"
_TRAINABLE = "trainable"
_REMEDY = "call fit once for each compile(), with initial_epoch="
WARNING = (
    "a callback has compiled the model anew, or changed settings of its layers, within fit: a later start would have "
    f"the script's own again, so it cannot resume from here on. {_REMEDY}"
)


class Compiled:
    """How the model is compiled as the training of a ``fit`` begins, and its layers' settings. What is compiled the
    same way once more may be resumed.

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
        self._layers = _Layers(model)

    def built(self) -> None:
        """The first step is done: what it has built is no change."""
        self._layers.built()

    def settings(self, remade: bool, kept: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]] | None:
        """What a callback has set in layers, by their numbers, and what ``kept`` has: nothing where steps have read it
        before. None if the model is compiled in another way, or such a setting is no number.
        """
        with backend().readable(self._model):
            eager = backend().runs_eagerly(self._model)
            if self._is_another_compile(remade or eager):
                return None
            if eager:
                return self._layers.numbers_set(kept)
            return None if remade and self._layers.numbers_set({}) != {} else {}

    def _is_another_compile(self, rereads: bool) -> bool:
        model = self._model
        if compile_settings(model) != self._before:
            return True
        anew = any(now is not before for now, before in zip(compiled(model), self._made, strict=True))
        if anew and loss_settings(model) != self._loss:
            return True
        return rereads and schedule(model) != self._schedule


class _Layers:
    """The settings of a model's layers: each has its number, and the model the last one. What is not built yet may
    still change by itself, but for its numbers, and get more layers inside.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._configs: dict[int, dict[str, Any]] = {}
        self._trainable: dict[int, bool] = {}
        self._known: list[Any] = []  # so that no other layer has the id of one of them
        self._current: set[int] = set()
        self._unbuilt: set[int] = set()
        self._look()

    def built(self) -> None:
        if self._unbuilt:
            self._look()

    def numbers_set(self, kept: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]] | None:
        configs = self._look()
        if configs is None:
            return None
        found = {number: {key: getattr(configs[number][0], key) for key in keys} for number, keys in kept.items()}
        for number, (layer, now) in enumerate(configs):
            before = self._configs[id(layer)]
            for key in before.keys() | now.keys():
                if before.get(key) == now.get(key) or isinstance(getattr(layer, key, None), keras.Layer):
                    continue  # a layer inside comes by itself
                if not _is_set(layer, key, now):
                    return None
                found.setdefault(number, {})[key] = now[key]
        if any(_is_trained(layer) != self._trainable[id(layer)] for layer, _ in configs):
            for number, (layer, _) in enumerate(configs):  # of all: one that is set sets those inside of it
                found.setdefault(number, {})[_TRAINABLE] = _is_trained(layer)
        return found

    def _look(self) -> list[tuple[Any, dict[str, Any]]] | None:
        """The layers with their settings now; None if others are there, and not because something was built."""
        configs = [(layer, _config(layer)) for layer in _numbered(self._model)]
        new = {id(layer) for layer, _ in configs} - self._current
        if self._current and not self._unbuilt and (new or len(self._current) != len(configs)):
            return None
        for layer, now in configs:
            if id(layer) in new:
                self._known.append(layer)
                self._configs[id(layer)], self._trainable[id(layer)] = now, _is_trained(layer)
            elif id(layer) in self._unbuilt:
                before = self._configs[id(layer)]
                numbers = {
                    key: value for key, value in before.items() if _is_number(value) and _is_set(layer, key, now)
                }
                self._configs[id(layer)] = {**now, **numbers}
        self._current = {id(layer) for layer, _ in configs}
        self._unbuilt = {id(layer) for layer, _ in configs if not getattr(layer, "built", True)}
        return configs


def _numbered(model: keras.Model) -> list[Any]:
    return [*layers_of(model), model]


def _config(layer: Any) -> dict[str, Any]:
    config = {} if isinstance(layer, keras.Model) else config_of(layer)
    return {key: value for key, value in config.items() if key != _TRAINABLE} if isinstance(config, dict) else {}


def _is_set(layer: Any, key: str, config: Mapping[str, Any]) -> bool:
    """Is it a number, which can be set by that name?"""
    return _is_number(config.get(key)) and config[key] == getattr(layer, key, None)


def _is_trained(layer: Any) -> bool:
    return bool(getattr(layer, _TRAINABLE, True))


def _is_number(value: Any) -> bool:
    return type(value) in (bool, int, float)


def set_again(model: keras.Model, saved: Saved) -> dict[int, dict[str, Any]]:
    """What ``Compiled.settings`` gave, which it returns; nothing in older pairs. Raises InvalidPair for all else."""
    settings, layers = saved.facts.get(SETTINGS, {}), _numbered(model)
    trainable: dict[int, bool] = {}
    try:
        for number, keys in settings.items():
            for key, value in keys.items():
                layer = layers[number]
                if key == _TRAINABLE and type(value) is bool:
                    trainable[id(layer)] = value
                    continue
                if not (_is_number(value) and key in _config(layer) and _is_number(getattr(layer, key))):
                    raise TypeError(f"layer {number} has no number of such a name")
                setattr(layer, key, value)
        _set_trainable([layers[-1], *layers[:-1]], trainable)
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise InvalidPair(f"the .pkl's settings of layers are malformed: {error}") from None
    return dict(settings)


def _set_trainable(outer_first: Sequence[Any], trainable: Mapping[int, bool]) -> None:
    """Each that is set sets those inside of it. One that is inside of two may come before the second."""
    for _ in outer_first:
        others = [layer for layer in outer_first if trainable.get(id(layer), _is_trained(layer)) != _is_trained(layer)]
        if not others:
            return
        for layer in outer_first:
            wanted = trainable.get(id(layer))
            if wanted is not None and wanted != _is_trained(layer):
                layer.trainable = wanted


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

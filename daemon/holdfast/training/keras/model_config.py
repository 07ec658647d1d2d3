"""What Keras' ``.h5`` reader wants to know of a model: layers and compile settings, as attributes of the file."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from ..data.keras_in_use import is_keras_2, keras
from .layer_state import looks_words_up, words_of
from .variables import listed_of

# Keras 3.15 writes a setting of theirs that it does not accept when it reads it.
_NOT_READ_BACK = {"RandomShear"}


class NotStorable(Exception):
    """Keras cannot store this model whole, or cannot read back what it stores; the text says why."""


def described(model: keras.Model) -> dict[str, Any]:
    """The attributes, as Keras' own writer makes them, but for the vocabularies: it leaves out those that were adapted.

    Raises NotStorable, and whatever the layers' ``get_config`` raises. The model stays as it is: Keras' writer takes
    the optimizer out of the live compile settings, and a ``.keras`` file that is saved later opens with another one.
    """
    if is_keras_2():
        from .backends.keras_2_config import described

        if len(listed_of(model)) < len(model.variables):
            raise NotStorable("Keras 2 stores no words that a layer has learned in an .h5")
        return described(model)
    from keras.src.legacy.saving import json_utils, saving_options, saving_utils

    with saving_options.keras_option_scope(use_legacy_config=True):
        about = saving_utils.model_metadata(model, include_optimizer=False)
        if getattr(model, "optimizer", None) and model.compiled:
            about["training_config"] = _compile_settings(model)
        encoded = {
            name: json.dumps(value, default=json_utils.get_json_type)
            if isinstance(value, dict | list | tuple)
            else value
            for name, value in about.items()
        }
    encoded["model_config"] = json.dumps(_readable(model, json.loads(encoded["model_config"])))
    return {name: value.encode() if name.endswith("_config") else value for name, value in encoded.items()}


def _compile_settings(model: keras.Model) -> dict[str, Any]:
    from keras.src.legacy.saving import saving_utils

    settings = {name: value for name, value in model._compile_config.config.items() if name != "optimizer"}
    optimizer = model.optimizer
    about = {"class_name": keras.saving.get_registered_name(type(optimizer)), "config": optimizer.get_config()}
    return {**saving_utils._serialize_nested_config(settings), "optimizer_config": about}


def _readable(model: keras.Model, config: dict[str, Any]) -> dict[str, Any]:
    """``config`` with the words of its lookup layers. Raises NotStorable for what Keras would not read back."""
    lookups = _lookups(model)
    for layer in _layer_configs(config):
        kind, settings = layer["class_name"], layer["config"]
        if kind in _NOT_READ_BACK:
            raise NotStorable(f"Keras does not read back the settings of a {kind}")
        for key, value in settings.items():
            if key != "name" and _names_a_function(value):
                raise NotStorable(f"Keras reads the setting {key}={value!r} of a {kind} as a function of that name")
        if settings.get("vocabulary", "") is None and settings.get("name") in lookups:
            settings |= words_of(lookups[settings["name"]])
    return config


def _layer_configs(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("class_name"), str) and isinstance(value.get("config"), dict):
            yield value
        for inside in value.values():
            yield from _layer_configs(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _layer_configs(inside)


def _names_a_function(value: Any) -> bool:
    """Keras' reader replaces a text that is the name of a function among its layers by that function."""
    from keras.src import layers

    return isinstance(value, str) and inspect.isfunction(vars(layers).get(value))


def _lookups(model: keras.Model) -> dict[str, Any]:
    """By name. Raises NotStorable where two have one name."""
    found: dict[str, Any] = {}
    every = list(model._flatten_layers())
    inner = [id(layer._lookup_layer) for layer in every if isinstance(layer, keras.layers.TextVectorization)]
    for layer in every:
        if looks_words_up(layer) and id(layer) not in inner:
            if layer.name in found:
                raise NotStorable(f"two layers that look words up have the name {layer.name}")
            found[layer.name] = layer
    return found

"""What a ``fit`` is, as it begins: its model, how that is compiled, its data, and where in the script it is called.

Nothing in it is a name that Keras numbers, as those depend on what was made before.
"""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isfunction
from types import FrameType
from typing import Any

import numpy as np

from ...data.fingerprint import fingerprint, sample
from ...data.keras_in_use import keras
from ...session.base import FIT, Session
from ...session.call_site import call_site, digest
from ...session.identity import Identity, of_process
from ..backends.chosen import backend
from ..variables import listed_of, value_of

_LIBRARIES = ("keras", "tensorflow", "tf_keras", "jax", "torch", "holdfast")
_NUMBERED = {"name", "seed", "shared_object_id"}
_RATE = "learning_rate"
_OF_MODULE = {"module", "output_shape"}  # settings of a layer that wraps a module of PyTorch's
_SAMPLED_VARIABLES = 8
_DEEPEST = 12


def fit_identity(model: keras.Model, frame: FrameType | None, local: Mapping[str, Any], session: Session) -> Identity:
    """For the ``fit`` with the variables ``local`` that was called by ``frame``."""
    rate, settings = _optimizer(model.optimizer)
    iterator = local.get("epoch_iterator")
    given = (local.get("x"), local.get("y"), local.get("sample_weight"), getattr(iterator, "num_batches", None) or -1)
    return {
        "kind": FIT,
        **of_process(session.origin.get("command")),
        **call_site(frame, _LIBRARIES),
        "model": _model(model),
        "layers": settings_of(model),
        "optimizer": type(model.optimizer).__qualname__,
        "rate": rate,
        "compile": digest([settings, _described(getattr(model, "loss", None))]),
        "epochs": int(local.get("epochs") or 0),
        "seed": backend().seed(),
        "data": fingerprint(*given),
        "weights": _weights(model),
    }


def compile_settings(model: keras.Model) -> list[Any]:
    """What ``compile`` was given, but the learning rate. Functions stand for themselves: their names may be equal."""
    _, optimizer = _optimizer(model.optimizer)
    compiled = getattr(model, "_compile_metrics", None) or getattr(model, "compiled_metrics", None)
    metrics = getattr(compiled, "_user_metrics", None)
    given = [getattr(model, "loss", None), metrics]
    return [
        type(model.optimizer).__qualname__,
        _without_rates(optimizer),
        _described(given),
        *filter(isfunction, keras.tree.flatten(given)),
    ]


def _without_rates(config: Any) -> Any:
    """Without that of an optimizer inside, which is under a loss scale. Numbers are as variables hold them: a legacy
    optimizer of Keras 2 makes variables of its settings.
    """
    if isinstance(config, dict):
        return {key: _without_rates(value) for key, value in config.items() if key != _RATE}
    return float(np.float32(config)) if isinstance(config, float) else config


def _model(model: keras.Model) -> Any:
    """None until it is built."""
    variables = [(tuple(variable.shape), str(variable.dtype)) for variable in listed_of(model)]
    return digest([type(model).__qualname__, variables]) if model.built and variables else None


def _layers(model: keras.Model) -> list[Any]:
    flatten = getattr(model, "_flatten_layers", None)
    return list(flatten(include_self=False)) if flatten is not None else list(model.layers)


def settings_of(model: keras.Model) -> str:
    """Of its layers: what they do, and whether they are trained."""
    return digest([_settings(layer) for layer in _layers(model)])


def _settings(layer: Any) -> Any:
    if isinstance(layer, keras.Model):  # its layers come by themselves
        return type(layer).__qualname__
    return [type(layer).__qualname__, _config(layer)]


def _optimizer(optimizer: Any) -> tuple[Any, Any]:
    """The learning rate, or a description of its schedule; and the other settings."""
    config = _config(optimizer)
    rate = config.pop(_RATE, None) if isinstance(config, dict) else None
    return (float(np.float32(rate)) if isinstance(rate, float) else digest(rate)), config


def _config(thing: Any) -> Any:
    try:
        config = thing.get_config()
    except Exception:  # of a user's class, whatever it is: no config, nothing to compare
        return None
    return _described(config)


def _described(value: Any, depth: int = 0) -> Any:
    """Plain values; a function or a class by its name, another object by that of its class."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if depth > _DEEPEST:
        return None
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        left_out = _NUMBERED | ({"module"} if value.keys() >= _OF_MODULE else set())  # with its weights
        return {str(key): _described(item, depth + 1) for key, item in value.items() if key not in left_out}
    if isinstance(value, list | tuple):
        return [_described(item, depth + 1) for item in value]
    return getattr(value, "__qualname__", type(value).__qualname__)


def _weights(model: keras.Model) -> Any:
    """A few values of the weights that the training begins with; None until there are any."""
    variables = model.trainable_variables if model.built else []
    chosen = variables[:: max(1, len(variables) // _SAMPLED_VARIABLES)]
    try:
        return [sample(value_of(variable)) for variable in chosen] or None
    except Exception:  # of a strategy whose variables are no tensors
        return None

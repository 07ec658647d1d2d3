"""What a ``fit`` is, as it begins: its model, how that is compiled, its data, and where in the script it is called.

Nothing in it is a name that Keras numbers, as those depend on what was made before.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import warnings
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
_MOST_DESCRIBED = 10_000
_OF_WRAPPERS = ("fn", "fn_kwargs")  # of Keras' losses and metrics, whose configs lack some (a Huber's delta)


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
        "loss": loss_digest(model, local.get("class_weight")),
        "epochs": int(local.get("epochs") or 0),
        "seed": backend().seed(),
        "data": fingerprint(*given),
        "weights": _weights(model),
    }


def compile_settings(model: keras.Model) -> list[Any]:
    """What ``compile`` was given, but the learning rate. Functions stand for themselves: their names may be equal."""
    _, optimizer = _optimizer(model.optimizer)
    given = [getattr(model, "loss", None), _metrics(model)]
    return [
        type(model.optimizer).__qualname__,
        _without_rates(optimizer),
        _described(given),
        *filter(isfunction, keras.tree.flatten(given)),
    ]


def schedule(model: keras.Model) -> str | None:
    """Of the learning rate."""
    rate, _ = _optimizer(model.optimizer)
    return rate if isinstance(rate, str) else None


def compiled(model: keras.Model) -> list[Any]:
    """What Keras has made of the losses and the metrics: each ``compile`` makes it anew."""
    names = [("_compile_loss", "compiled_loss"), ("_compile_metrics", "compiled_metrics")]
    # Keras 3 makes what has the older name anew each time.
    return [getattr(model, name if hasattr(model, name) else older, None) for name, older in names]


def _metrics(model: keras.Model) -> list[Any]:
    metrics = compiled(model)[1]
    return [getattr(metrics, name, None) for name in ("_user_metrics", "_user_weighted_metrics")]


def loss_settings(model: keras.Model) -> list[Any]:
    """The loss and the metrics with all that is set in them, and the weights of several losses."""
    weights = getattr(compiled(model)[0], "_user_loss_weights", None)
    return [_InFull().of(one) for one in (getattr(model, "loss", None), weights, *_metrics(model))]


def loss_digest(model: keras.Model, class_weight: Any) -> str:
    return digest([*loss_settings(model), _InFull().of(class_weight)])


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


def layers_of(model: keras.Model) -> list[Any]:
    flatten = getattr(model, "_flatten_layers", None)
    return list(flatten(include_self=False)) if flatten is not None else list(model.layers)


def settings_of(model: keras.Model) -> str:
    """Of its layers: what they do, and whether they are trained."""
    return digest([_settings(layer) for layer in layers_of(model)])


def _settings(layer: Any) -> Any:
    if isinstance(layer, keras.Model):  # its layers come by themselves
        return type(layer).__qualname__
    return [type(layer).__qualname__, config_of(layer)]


def _optimizer(optimizer: Any) -> tuple[Any, Any]:
    """The learning rate, or a description of its schedule; and the other settings."""
    config = config_of(optimizer)
    rate = config.pop(_RATE, None) if isinstance(config, dict) else None
    return (float(np.float32(rate)) if isinstance(rate, float) else digest(rate)), config


def config_of(thing: Any) -> Any:
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


class _InFull:
    """As ``_described``, and objects and functions with what was set in them as they were made: a config, what a
    constructor was given and the object has under that name, defaults, and what is closed over.
    """

    def __init__(self) -> None:
        self._left = _MOST_DESCRIBED

    def of(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST:
            return None
        if isinstance(value, backend().kinds().tensors):
            value = backend().array_of(value)
        if isinstance(value, np.ndarray):
            chosen = value.reshape(-1)[:: value.size // _MOST_DESCRIBED + 1]
            return [str(value.dtype), list(value.shape), None if value.dtype.hasobject else digest(chosen.tobytes())]
        if isinstance(value, Mapping):
            if value.get("class_name") == "__lambda__":  # with its code, which holds the file's path
                return "__lambda__"
            items = itertools.islice(((key, item) for key, item in value.items() if key not in _NUMBERED), self._left)
            return [len(value), {str(key): self.of(item, depth + 1) for key, item in items}]
        if isinstance(value, list | tuple):
            return [len(value), *(self.of(item, depth + 1) for item in value[: max(0, self._left)])]
        if isfunction(value):
            cells = [cell.cell_contents for cell in value.__closure__ or () if _is_bound(cell)]
            parts = [list(value.__defaults__ or ()), value.__kwdefaults__, cells]
            return [value.__qualname__, *(self.of(part, depth + 1) for part in parts)]
        if isinstance(value, functools.partial):
            return ["partial", *(self.of(part, depth + 1) for part in (value.func, value.args, value.keywords))]
        return self._object(value, depth)

    def _object(self, value: Any, depth: int) -> Any:
        named = _described(value)
        plain = value is None or isinstance(value, bool | int | float | str | np.generic | type)
        layer = isinstance(value, (keras.Layer, keras.optimizers.Optimizer)) and not isinstance(value, keras.Metric)
        if plain or layer or hasattr(value, "__qualname__"):
            return named
        config, settings = None, {}
        with contextlib.suppress(Exception), warnings.catch_warnings():  # of a user's class; a lambda is warned of
            warnings.simplefilter("ignore")
            config = value.get_config() if hasattr(value, "get_config") else None
        with contextlib.suppress(Exception):
            names = [*inspect.signature(type(value).__init__).parameters, *_OF_WRAPPERS]
            inside = vars(value)
            settings = {name: inside[key] for name in names for key in (name, f"_{name}") if key in inside}
        return [named, self.of(config, depth + 1), self.of(settings, depth + 1)]


def _is_bound(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _weights(model: keras.Model) -> Any:
    """A few values of the weights that the training begins with; None until there are any."""
    variables = model.trainable_variables if model.built else []
    chosen = variables[:: max(1, len(variables) // _SAMPLED_VARIABLES)]
    try:
        return [sample(value_of(variable)) for variable in chosen] or None
    except Exception:  # of a strategy whose variables are no tensors
        return None

"""Which layers of a model draw random numbers whose state no checkpoint can hold."""

from __future__ import annotations

import re
from typing import Any

from ...data.keras_in_use import is_keras_2, keras
from ..backends.chosen import backend

_NUMBER = re.compile(r"_\d+$")
_REMEDY = (
    "use keras.random.normal(…, seed=self.seed_generator) and the like, with self.seed_generator = "
    "keras.random.SeedGenerator(…) made in __init__"
)

_HIDDEN = "legacy_stateful"  # Keras 2's name for operations that keep their state in their kernels
_REMEDY_IN_KERAS_2 = "call tf_keras.backend.experimental.enable_tf_random_generator() before the model is made"


def warnings(model: keras.Model, train_function: Any) -> list[str]:
    """One line for each layer, where the train function, after its first call, or a layer of Keras 2 shows any."""
    layers = {layer.name for layer in model._flatten_layers(include_self=False)}
    remedy = _REMEDY_IN_KERAS_2 if is_keras_2() else _REMEDY
    found: dict[str, str] = {}
    for draw in backend().hidden_draws(train_function):
        found.setdefault(_place(draw.name, layers), draw.operation)
    if is_keras_2() and backend().runs_eagerly(model):  # no graph shows them
        for layer in model._flatten_layers(include_self=False):
            if getattr(getattr(layer, "_random_generator", None), "_rng_type", None) == _HIDDEN:
                found.setdefault(f"the layer {layer.name}", type(layer).__name__)
    return [
        f"{place} draws from tf.random ({operation}), and that state cannot be kept: after an interruption it draws "
        f"other numbers than it would have; {remedy}"
        for place, operation in found.items()
    ]


def _place(name: str, layers: set[str]) -> str:
    """TensorFlow numbers a scope that it has had before: ``noise_1`` may be the layer ``noise``."""
    scopes = name.split("/")[:-1]
    path = [one for scope in scopes for one in (scope, _NUMBER.sub("", scope)) if one in layers]
    path = [one for at, one in enumerate(path) if one not in path[:at]]
    return f"the layer {'/'.join(path)}" if path else f"the train step ({name})"

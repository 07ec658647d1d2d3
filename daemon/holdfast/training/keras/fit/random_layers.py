"""Which layers of a model draw random numbers whose state no checkpoint can hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import keras

from ...data.tf_random import draws_in

_NUMBER = re.compile(r"_\d+$")
_REMEDY = (
    "use keras.random.normal(…, seed=self.seed_generator) and the like, with self.seed_generator = "
    "keras.random.SeedGenerator(…) made in __init__"
)


def warnings(model: keras.Model, train_function: Any) -> list[str]:
    """One line for each layer, as the graphs of the train function show it; none where there are no graphs."""
    layers = {layer.name for layer in model._flatten_layers(include_self=False)}
    found: dict[str, str] = {}
    for graph in _graphs(train_function):
        for draw in draws_in(graph):
            found.setdefault(_place(draw.name, layers), draw.operation)
    return [
        f"{place} draws from tf.random ({operation}), and that state cannot be kept: after an interruption it draws "
        f"other numbers than it would have; {_REMEDY}"
        for place, operation in found.items()
    ]


def _graphs(train_function: Any) -> Iterable[Any]:
    """Keras' train function holds those that TensorFlow traced."""
    for cell in getattr(train_function, "__closure__", None) or ():
        functions = getattr(cell.cell_contents, "_list_all_concrete_functions", None)
        for function in functions() if functions is not None else ():
            yield function.graph


def _place(name: str, layers: set[str]) -> str:
    """TensorFlow numbers a scope that it has had before: ``noise_1`` may be the layer ``noise``."""
    scopes = name.split("/")[:-1]
    path = [one for scope in scopes for one in (scope, _NUMBER.sub("", scope)) if one in layers]
    path = [one for at, one in enumerate(path) if one not in path[:at]]
    return f"the layer {'/'.join(path)}" if path else f"the train step ({name})"

"""The variables that make up a training's state, and how one is told from another in a later process.

A variable is known by its group and its place in that group; its path is for people. Groups: ``model`` (weights and
seed generators), ``optimizer`` (``optimizer:<attribute>`` for further ones), ``metrics``. Under a distribution strategy
each replica has a copy of its own, and some of them differ (BatchNormalization's statistics, metrics): the copies
beyond the first are in groups of their own, ``model@1`` and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from ..core.errors import Mismatch
from .pair import Place

MODEL, OPTIMIZER, METRICS = "model", "optimizer", "metrics"


@dataclass(frozen=True)
class Part:
    """A Keras variable's copy on one replica; ``tensor`` is the TensorFlow variable behind it."""

    variable: Any
    tensor: Any

    @property
    def path(self) -> str:
        return str(self.variable.path)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape)

    @property
    def dtype(self) -> str:
        return str(keras.backend.standardize_dtype(self.variable.dtype))

    def read(self) -> Any:
        """A snapshot: TensorFlow copies the buffer on the next write, so this costs next to nothing.

        On a GPU it would hold device memory for as long as the snapshot lives, so there it is copied to the host.
        """
        value = self.tensor.read_value() if hasattr(self.tensor, "read_value") else self.tensor
        return value.numpy() if "GPU" in getattr(value, "device", "") else value

    def assign(self, value: np.ndarray) -> None:
        (self.tensor if hasattr(self.tensor, "assign") else self.variable).assign(value)


def is_metric(place: Place) -> bool:
    return place.group.split("@")[0] == METRICS


def build_optimizers(model: keras.Model) -> None:
    """Creates the compiled optimizer's slots, as its first step would."""
    optimizer = getattr(model, "optimizer", None)
    if model.built and optimizer is not None and not optimizer.built:
        with model.distribute_strategy.scope():
            optimizer.build(model.trainable_variables)


def optimizers(model: keras.Model) -> dict[str, Any]:
    """The compiled optimizer, and others that the model keeps as attributes (a GAN's second one, say)."""
    found: dict[str, Any] = {}
    if getattr(model, "optimizer", None) is not None:
        found[OPTIMIZER] = model.optimizer
    for name, value in sorted(vars(model).items()):
        if isinstance(value, keras.optimizers.Optimizer) and all(value is not o for o in found.values()):
            found[f"{OPTIMIZER}:{name}"] = value
    return found


def collect(model: keras.Model) -> dict[Place, Part]:
    """Every variable once, in an order that depends on the script alone."""
    groups: dict[str, Iterable[Any]] = {MODEL: model.variables}
    groups |= {name: optimizer.variables for name, optimizer in optimizers(model).items()}
    groups[METRICS] = model.metrics_variables
    found: dict[Place, Part] = {}
    seen: set[int] = set()
    for group, variables in groups.items():
        for index, variable in enumerate(variables):
            if id(variable) in seen:
                continue
            seen.add(id(variable))
            for replica, tensor in enumerate(_copies(variable)):
                found[Place(f"{group}@{replica}" if replica else group, index)] = Part(variable, tensor)
    return found


def _copies(variable: Any) -> tuple[Any, ...]:
    """The TensorFlow variables behind a Keras variable, one for each replica."""
    value = variable.value
    copies = getattr(value, "values", None)
    return tuple(copies) if isinstance(copies, tuple | list) and copies else (value,)


def assign(parts: dict[Place, Part], values: dict[Place, tuple[str, np.ndarray]], say: Callable[[str], None]) -> None:
    """Puts every value (with its path) into its variable.

    Raises Mismatch, with nothing assigned, if the checkpoint and the model differ. Another number of replicas is no
    difference: the first one's values serve the new ones.
    """
    replicas = {place for place in {*parts, *values} if "@" in place.group}
    if any((place in parts) != (place in values) for place in replicas):
        say("the number of replicas is another than before: the training goes on, but not bit for bit")
    differences = list(_differences(parts, values))
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise Mismatch(
            f"the checkpoint does not fit the model that the script builds: {'; '.join(differences[:3])}{more}. "
            "Restore the script that wrote it, or start a new run under another name"
        )
    for place, part in parts.items():
        value = values.get(place) or values.get(_first_replica(place))
        if value is not None:
            part.assign(value[1])


def assign_what_fits(parts: dict[Place, Part], values: dict[Place, tuple[str, np.ndarray]]) -> None:
    """Puts the values that have a counterpart of the same path and shape into it."""
    for place, (path, value) in values.items():
        part = parts.get(place)
        if part is not None and (part.path, part.shape, part.dtype) == (path, value.shape, str(value.dtype)):
            part.assign(value)


def _first_replica(place: Place) -> Place:
    return Place(place.group.split("@")[0], place.index)


def _differences(parts: dict[Place, Part], values: dict[Place, tuple[str, np.ndarray]]) -> Iterable[str]:
    for place, (path, value) in values.items():
        part = parts.get(place)
        if part is None:
            if "@" not in place.group:
                yield f"{path} {value.shape} has no counterpart in the model"
        elif part.shape != value.shape:
            yield f"{path} is {value.shape} in the checkpoint and {part.shape} in the model"
        elif part.dtype != str(value.dtype):
            yield f"{path} is {value.dtype} in the checkpoint and {part.dtype} in the model"
    groups = {place.group for place in values}
    for place, part in parts.items():
        if place not in values and place.group in groups:
            yield f"{part.path} {part.shape} is not in the checkpoint"

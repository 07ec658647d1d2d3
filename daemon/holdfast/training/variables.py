"""The variables that make up a training's state, and how one is told from another in a later process.

A variable is known by its group and its place in that group; its path is for people. Groups: ``model`` (weights and
seed generators), ``optimizer`` (``optimizer:<attribute>`` for further ones), ``metrics``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from ..core.errors import Mismatch
from .pair import Place

MODEL, OPTIMIZER, METRICS = "model", "optimizer", "metrics"


def build_optimizers(model: keras.Model) -> None:
    """Creates the optimizers' slots, as their first step would. Slots that a script creates later are not there yet."""
    if not model.built:
        return
    for optimizer in optimizers(model).values():
        if not optimizer.built and optimizer is model.optimizer:
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


def collect(model: keras.Model) -> dict[Place, Any]:
    """Every variable once, in an order that depends on the script alone."""
    groups: dict[str, Iterable[Any]] = {MODEL: model.variables}
    groups |= {name: optimizer.variables for name, optimizer in optimizers(model).items()}
    groups[METRICS] = model.metrics_variables
    found: dict[Place, Any] = {}
    seen: set[int] = set()
    for group, variables in groups.items():
        for index, variable in enumerate(variables):
            if id(variable) not in seen:
                seen.add(id(variable))
                found[Place(group, index)] = variable
    return found


def read(variable: Any) -> Any:
    """A snapshot: TensorFlow copies the buffer on the next write, so this costs next to nothing.

    On a GPU it would hold device memory for as long as the snapshot lives, so there it is copied to the host.
    """
    value = variable.value
    tensor = value.read_value() if hasattr(value, "read_value") else value
    return tensor.numpy() if "GPU" in getattr(tensor, "device", "") else tensor


def assign(variables: dict[Place, Any], values: dict[Place, tuple[str, np.ndarray]]) -> None:
    """Puts every value (with its path) into its variable.

    Raises Mismatch, with nothing assigned, if the checkpoint and the model differ.
    """
    differences = list(_differences(variables, values))
    if differences:
        more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
        raise Mismatch(
            f"the checkpoint does not fit the model that the script builds: {'; '.join(differences[:3])}{more}. "
            "Restore the script that wrote it, or start a new run under another name"
        )
    for place, (_, value) in values.items():
        variables[place].assign(value)


def _differences(variables: dict[Place, Any], values: dict[Place, tuple[str, np.ndarray]]) -> Iterable[str]:
    for place, (path, value) in values.items():
        variable = variables.get(place)
        if variable is None:
            yield f"{path} {value.shape} has no counterpart in the model"
        elif tuple(variable.shape) != value.shape:
            yield f"{path} is {value.shape} in the checkpoint and {tuple(variable.shape)} in the model"
        elif keras.backend.standardize_dtype(variable.dtype) != str(value.dtype):
            yield f"{path} is {value.dtype} in the checkpoint and {variable.dtype} in the model"
    groups = {place.group for place in values}
    for place, variable in variables.items():
        if place not in values and place.group in groups:
            yield f"{variable.path} {tuple(variable.shape)} is not in the checkpoint"

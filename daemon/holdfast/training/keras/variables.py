"""The variables that make up a training's state, and how a later process tells one from another.

A variable is known by its group and its place in that group; its path is for people. Groups: ``model`` (weights and
seed generators), ``optimizer`` (``optimizer:<name>`` for further ones; with a ``+`` behind it, what an optimizer keeps
beside its list of variables), ``metrics``. Under a distribution strategy each replica has a copy of its own, and some
of them differ (BatchNormalization's statistics, metrics): the copies beyond the first are in groups of their own,
``model@1`` and so on. What none of Keras' lists has, and the walk of object_graph.py finds, is a group of its own each:
``reached:`` and the attributes that lead to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.errors import Mismatch
from ..data.keras_in_use import keras
from ..pair.pair_files import Place
from .backends.chosen import backend

MODEL, OPTIMIZER, METRICS = "model", "optimizer", "metrics"
BESIDE = "+"
REACHED = "reached:"


@dataclass(frozen=True)
class Part:
    """A variable's copy on one replica; ``tensor`` is what holds its value. One that Keras does not list
    is known by the attributes that lead to it, ``reached_by``.
    """

    variable: Any
    tensor: Any
    reached_by: str | None = None

    @property
    def path(self) -> str:
        return path_of(self.variable) if self.reached_by is None else self.reached_by

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.variable.shape)

    @property
    def dtype(self) -> str:
        return str(keras.backend.standardize_dtype(self.variable.dtype))

    def read(self, live: Mapping[int, Any] | None = None) -> Any:
        """A snapshot that no later step changes. ``live`` are values that are not in their variables now, by the ids of
        these.
        """
        return backend().read((live or {}).get(id(self.variable), self.tensor))

    def assign(self, value: np.ndarray) -> None:
        backend().assign(self.variable, self.tensor, value)


def path_of(variable: Any) -> str:
    """Keras 2 has names."""
    return str(getattr(variable, "path", None) or variable.name)


def value_of(variable: Any) -> Any:
    """A tensor, of one replica."""
    value = variable.value
    return value() if callable(value) else value


def is_metric(place: Place) -> bool:
    return place.group.split("@")[0] == METRICS


def is_of_model_inside(place: Place) -> bool:
    """Is it of the optimizer of a compiled model that the model keeps?"""
    return place.group.startswith(f"{OPTIMIZER}:") and place.group.rstrip(BESIDE).endswith(".optimizer")


def is_reached(place: Place) -> bool:
    """Is it one that no list of Keras' has?"""
    return place.group.startswith(REACHED)


def build_optimizers(model: keras.Model, anyway: bool = False) -> None:
    """Creates the compiled optimizer's slots, as its first step would. ``anyway``: the model has all its variables,
    though a layer is not built, as it is never called.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not _has_slots(optimizer) and (_is_built(model) or (anyway and model.built)):
        with backend().scope(model):
            (getattr(optimizer, "_create_all_weights", None) or optimizer.build)(model.trainable_variables)


def _has_slots(optimizer: Any) -> bool:
    """A legacy one of Keras 2 does not know it, and makes those that are missing."""
    return bool(getattr(optimizer, "built", getattr(optimizer, "_built", False)))


def listed_of(model: keras.Model) -> list[Any]:
    """Its variables that Keras lists. Keras 2 has among them what stands for the words of a lookup layer, and none of a
    model that its first batch builds.
    """
    try:
        return [one for one in model.variables if hasattr(one, "shape")]
    except ValueError:
        return []


def listed_in(optimizer: Any) -> list[Any]:
    """Its variables that Keras lists; a legacy one of Keras 2 has a method for it."""
    listed = optimizer.variables
    return list(listed if isinstance(listed, list | tuple) else listed())


def _of_metrics(model: keras.Model) -> list[Any]:
    listed = getattr(model, "metrics_variables", None)
    return list(listed) if listed is not None else [one for metric in model.metrics for one in metric.variables]


def _is_built(model: keras.Model) -> bool:
    """A model's own ``build`` may say so before its layers are: then its first step makes their variables."""
    return bool(model.built) and all(layer.built for layer in model._flatten_layers())


def optimizers(model: keras.Model) -> dict[str, Any]:
    """The compiled optimizer, and others that the model keeps (a GAN's second one, say): as attributes, in lists and
    dicts, or compiled into models inside of it.
    """
    found: dict[str, Any] = {}
    if getattr(model, "optimizer", None) is not None:
        found[OPTIMIZER] = model.optimizer
    # Keras' own step uses the compiled one alone: those of a pretrained model inside need not be stored.
    inside = type(model).train_step is not keras.Model.train_step
    for name, optimizer in _kept_in(model, inside, {id(model)}):
        if all(optimizer is not o for o in found.values()):
            found[f"{OPTIMIZER}:{name}"] = optimizer
    return found


def _kept_in(holder: Any, inside: bool, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Optimizers, with the names that lead to them, the holder's own first. ``seen`` keeps from going in a circle."""
    items = list(_items(holder))
    yield from ((f"{name}", value) for name, value in items if isinstance(value, keras.optimizers.Optimizer))
    for name, value in items:
        enters = isinstance(value, list | tuple | dict) or (inside and isinstance(value, keras.Model))
        if enters and id(value) not in seen:
            seen.add(id(value))
            yield from ((f"{name}.{rest}", optimizer) for rest, optimizer in _kept_in(value, inside, seen))


def _items(holder: Any) -> Iterable[tuple[Any, Any]]:
    """In an order that depends on the script alone: a model's public attributes come before its own."""
    if isinstance(holder, dict):
        return holder.items()
    if isinstance(holder, list | tuple):
        return enumerate(holder)
    return sorted(backend().attributes(holder).items(), key=lambda item: (item[0].startswith("_"), item[0]))


def _beside(optimizer: Any) -> Iterator[Any]:
    """Variables among an optimizer's attributes: under a loss scale Keras does not list all of them (Nadam's). A legacy
    one of Keras 2 has a dict of its hyperparameters.
    """
    for _, value in sorted({**vars(optimizer), **vars(optimizer).get("_hyper", {})}.items()):
        if isinstance(value, keras.Variable):
            yield value
        elif isinstance(value, keras.optimizers.Optimizer):
            yield from _beside(value)


def collect(model: keras.Model, reached: Mapping[str, Any] | None = None) -> dict[Place, Part]:
    """Every variable once, in an order that depends on the script alone. ``reached`` are others, by their paths."""
    groups: dict[str, Iterable[Any]] = {MODEL: listed_of(model)}
    kept = optimizers(model)
    groups |= {name: listed_in(optimizer) for name, optimizer in kept.items()}
    groups[METRICS] = _of_metrics(model)
    listed = {id(variable) for variables in groups.values() for variable in variables}
    for name, optimizer in kept.items():
        groups[f"{name}{BESIDE}"] = [variable for variable in _beside(optimizer) if id(variable) not in listed]
    found: dict[Place, Part] = {}
    seen: set[int] = set()

    def add(group: str, index: int, variable: Any, path: str | None = None) -> None:
        copies = backend().copies(variable)
        if seen.isdisjoint(map(id, (variable, *copies))):
            seen.update(map(id, (variable, *copies)))
            for replica, tensor in enumerate(copies):
                found[Place(f"{group}@{replica}" if replica else group, index)] = Part(variable, tensor, path)

    for group, variables in groups.items():
        for index, variable in enumerate(variables):
            add(group, index, variable)
    for path, variable in (reached or {}).items():
        add(f"{REACHED}{path}", 0, variable, path)
    return found


def assign(parts: dict[Place, Part], values: dict[Place, tuple[str, np.ndarray]], say: Callable[[str], None]) -> None:
    """Puts every value (with its path) into its variable.

    Raises Mismatch, with nothing assigned, if the checkpoint and the model differ. Another number of replicas is no
    difference: the first one's values serve the new ones.
    """
    replicas = {place for place in {*parts, *values} if "@" in place.group}
    if any((place in parts) != (place in values) for place in replicas):
        say("the number of replicas is another than before: the training continues, but not bit for bit")
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


def assign_matching(parts: dict[Place, Part], values: dict[Place, tuple[str, np.ndarray]]) -> None:
    """Puts the values that have a counterpart of the same path, shape and type into it."""
    for place, part in parts.items():
        if place in values and _fits(part, *values[place]):
            part.assign(values[place][1])


def without_counterpart(parts: dict[Place, Part], values: dict[Place, tuple[str, np.ndarray]]) -> list[str]:
    """The model's own variables that have no value of the same path, shape and type."""
    own = [(place, part) for place, part in parts.items() if place.group == MODEL]
    return [part.path for place, part in own if place not in values or not _fits(part, *values[place])]


def _fits(part: Part, path: str, value: np.ndarray) -> bool:
    return (part.path, part.shape, part.dtype) == (path, value.shape, str(value.dtype))


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

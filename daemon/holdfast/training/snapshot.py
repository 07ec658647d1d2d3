"""A moment of a Keras training: ``take`` runs in the training thread and costs next to nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from . import model_file
from .pair import Draft, Place, Position
from .variables import collect, read


def read_all(model: keras.Model) -> dict[Place, Any]:
    """Every variable's value, as tensors that no later step changes."""
    return {place: read(variable) for place, variable in collect(model).items()}


def take(
    model: keras.Model,
    position: Position,
    reason: str,
    metrics: Mapping[str, float],
    facts: Mapping[str, Any],
    held: Mapping[Place, Any] | None = None,
) -> Draft:
    """A draft whose ``write_h5`` any thread may run. ``held`` are values that were read before."""
    variables = collect(model)
    values = read_all(model) if held is None else held
    known = {place: variables[place] for place in values}

    def write_h5(path: Path) -> tuple[str, Mapping[Place, str]]:
        kind = model_file.write(path, model, known, values)
        return kind, model_file.index(path, model, known)

    paths = {place: (variable.path, values[place]) for place, variable in known.items()}
    return Draft(position, reason, metrics, paths, facts, write_h5)

"""A moment of a Keras training: ``take`` runs in the training thread and costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from ..pair.pair import Draft, Place, Position, Written
from . import model_file
from .variables import Part, collect


def read_all(model: keras.Model) -> dict[Place, Any]:
    """Every variable's value, as tensors that no later step changes."""
    return {place: part.read() for place, part in collect(model).items()}


def take(
    model: keras.Model,
    position: Position,
    reason: str,
    metrics: Mapping[str, float],
    facts: Mapping[str, Any],
    say: Callable[[str], None],
    held: Mapping[Place, Any] | None = None,
) -> Draft:
    """A draft that any thread may write. ``held`` are values that were read before.

    That thread calls ``say`` with what the user should know.
    """
    parts: dict[Place, Part] = collect(model)
    values = read_all(model) if held is None else held
    # The model file has room for one copy of each variable: further replicas' go into the .pkl.
    variables = {place: parts[place].variable for place in values if "@" not in place.group}

    named = {place: (parts[place].path, value) for place, value in values.items()}

    def write_h5(path: Path, most_dirty: int | None) -> Written:
        whole = {place: values[place] for place in variables}
        return model_file.write(path, model, variables, whole, say, most_dirty)

    return Draft(position, reason, metrics, named, facts, write_h5)

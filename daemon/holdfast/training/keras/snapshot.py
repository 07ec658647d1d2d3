"""A moment of a Keras training: ``take`` runs in the training thread and costs next to nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...core.checkpoint_name import CheckpointName
from ..pair.pair_files import Draft, Place, Position, Written
from . import model_file
from .backends.chosen import backend
from .variables import Part, is_reached
from .watched import Watched


def read_all(watched: Watched) -> dict[Place, Any]:
    """Every variable's value, as tensors that no later step changes."""
    return _read(watched, watched.parts())


def _read(watched: Watched, parts: Mapping[Place, Part]) -> dict[Place, Any]:
    live = backend().live_values(watched.model)
    return {place: part.read(live) for place, part in parts.items()}


def take(
    watched: Watched,
    position: Position,
    reason: str,
    metrics: Mapping[str, float],
    facts: Mapping[str, Any],
    say: Callable[[str], None],
    held: Mapping[Place, Any] | None = None,
    needs: tuple[CheckpointName, ...] = (),
    artifacts: tuple[str, ...] = (),
    data: str = "",
) -> Draft:
    """A draft that any thread may write. ``held`` are values that were read before.

    That thread calls ``say`` with what the user should know.
    """
    parts: dict[Place, Part] = watched.parts()
    if held is None:
        held = _read(watched, parts)
    values = {place: held[place] for place in parts if place in held}
    # The model file has room for one copy of each variable that Keras lists: all others go into the .pkl.
    variables = {place: parts[place].variable for place in values if "@" not in place.group and not is_reached(place)}

    named = {place: (parts[place].path, value) for place, value in values.items()}
    facts = {**facts, "layers": watched.layer_states.read(watched.found.layers)}

    def write_h5(path: Path, most_dirty: int | None, over: Path | None = None) -> Written:
        whole = {place: values[place] for place in variables}
        return model_file.write(path, watched.model, variables, whole, say, most_dirty, over)

    return Draft(position, reason, metrics, named, facts, write_h5, needs, artifacts, data)

"""A moment of a training, and the pair that is made of it.

``take`` runs in the training thread and costs next to nothing; ``write`` runs anywhere and does all the work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..core import codec
from ..core.errors import InvalidPair
from ..core.manifest import CheckpointName, Manifest
from ..spool import record_of, replacing, write_whole
from . import model_file
from .plain import pack, unpack
from .session import Session
from .variables import Place, collect, read

FORMAT = 1


@dataclass(frozen=True)
class Position:
    """``epoch`` epochs are complete, ``batch`` batches of the next one are done, ``step`` batches in all."""

    epoch: int
    batch: int
    step: int


@dataclass(frozen=True)
class Snapshot:
    """``values`` are tensors that no later step changes; ``facts`` are plain values for the ``.pkl``."""

    model: Any
    variables: Mapping[Place, Any]
    values: Mapping[Place, Any]
    position: Position
    reason: str
    metrics: Mapping[str, float]
    facts: Mapping[str, Any]


def take(
    model: keras.Model, position: Position, reason: str, metrics: Mapping[str, float], facts: Mapping[str, Any]
) -> Snapshot:
    variables = collect(model)
    values = {place: read(variable) for place, variable in variables.items()}
    return Snapshot(model, variables, values, position, reason, metrics, facts)


def write(session: Session, snapshot: Snapshot, kind: str) -> Manifest:
    """Writes the pair: data files first, the manifest last. Raises OSError if the disk does not take it."""
    position, spool = snapshot.position, session.spool
    name = session.next_name(position.epoch, position.step, snapshot.metrics.get("loss"))
    h5, pkl = spool.file(name.file("h5")), spool.file(name.file("pkl"))
    try:
        with replacing(h5, session.durable) as temporary:
            kind = model_file.write(temporary, snapshot.model, snapshot.variables, snapshot.values, kind)
            where = model_file.index(temporary, snapshot.model, snapshot.variables)
        write_whole(pkl, codec.dumps(_document(snapshot, where)), session.durable)
        manifest = Manifest(
            name=name,
            run=spool.run,
            batch=position.batch,
            kind=kind,
            reason=snapshot.reason,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            files={"h5": record_of(h5), "pkl": record_of(pkl)},
            metrics={key: value if math.isfinite(value) else None for key, value in snapshot.metrics.items()},
            origin={**session.origin},
        )
        spool.commit(manifest, session.durable)
    except BaseException:
        spool.remove(name)
        raise
    return manifest


def _document(snapshot: Snapshot, where: Mapping[Place, str]) -> dict[str, Any]:
    position = snapshot.position
    return {
        "format": FORMAT,
        "position": {"epoch": position.epoch, "batch": position.batch, "step": position.step},
        "variables": [
            {
                "group": place.group,
                "index": place.index,
                "path": variable.path,
                **({"h5": where[place]} if place in where else {"value": pack(np.asarray(snapshot.values[place]))}),
            }
            for place, variable in snapshot.variables.items()
        ],
        **snapshot.facts,
    }


@dataclass(frozen=True)
class Saved:
    """A pair as it was read: ``values`` are paths and arrays, ``facts`` the rest of the ``.pkl``."""

    position: Position
    values: Mapping[Place, tuple[str, np.ndarray]]
    facts: Mapping[str, Any]


def load(folder: Path, name: CheckpointName) -> Saved:
    """Reads a pair whose checksums were verified. Raises InvalidPair."""
    document = codec.loads((folder / name.file("pkl")).read_bytes())
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidPair(f"{name}: the format of its .pkl is not known; upgrade holdfast")
    try:
        position = Position(**{key: int(value) for key, value in document["position"].items()})
        entries = {Place(str(e["group"]), int(e["index"])): e for e in document["variables"]}
        inside = {place: str(e["h5"]) for place, e in entries.items() if "h5" in e}
        values = model_file.read_arrays(folder / name.file("h5"), inside)
        values |= {place: unpack(e["value"]) for place, e in entries.items() if "h5" not in e}
        return Saved(position, {place: (str(entries[place]["path"]), value) for place, value in values.items()}, document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidPair(f"{name}: its .pkl is malformed: {error!r}") from None

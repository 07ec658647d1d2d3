"""A pair on its way to disk and back, whatever framework its state comes from. Needs NumPy and h5py, no framework.

The ``.h5`` holds arrays; the ``.pkl`` holds all the rest, and says which array of the ``.h5`` is which variable. What
an HDF5 file cannot hold stands in the ``.pkl`` as bytes.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..core import codec
from ..core.errors import InvalidPair
from ..core.manifest import CheckpointName, Manifest
from ..spool import record_of, replacing, write_whole
from .plain import pack, unpack
from .session import Session

FORMAT = 1
_MARGIN = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Place:
    """Where a variable belongs: its group and its index there."""

    group: str
    index: int


@dataclass(frozen=True)
class Position:
    """``epoch`` epochs are complete, ``batch`` batches of the next one are done, ``step`` batches in all."""

    epoch: int
    batch: int
    step: int


@dataclass(frozen=True)
class Draft:
    """All that goes into a pair.

    ``values`` are arrays (or tensors) with their paths. ``write_h5`` writes the model file and returns its kind and
    which values stand in it, under which name. ``facts`` are plain values for the ``.pkl``.
    """

    position: Position
    reason: str
    metrics: Mapping[str, float]
    values: Mapping[Place, tuple[str, Any]]
    facts: Mapping[str, Any]
    write_h5: Callable[[Path], tuple[str, Mapping[Place, str]]]

    @property
    def size(self) -> int:
        """Bytes of all values."""
        return sum(_bytes(value) for _, value in self.values.values())


def write(session: Session, draft: Draft) -> Manifest:
    """Writes the pair: data files first, the manifest last.

    Where the disk is full, older pairs make room as long as there are any that may go (Session.make_room). Raises
    OSError if the disk does not take it even then.
    """
    need = draft.size + draft.size // 20 + _MARGIN
    while session.spool.free() < need and session.make_room():
        pass
    if session.spool.free() < need:
        text = f"no room for a checkpoint of {draft.size / 1e6:.1f} MB, {session.spool.free() / 1e6:.1f} MB are free"
        raise OSError(errno.ENOSPC, text, str(session.spool.path))
    while True:
        try:
            return _write(session, draft)
        except OSError as error:
            if not _is_full(error) or not session.make_room():
                raise


def _is_full(error: OSError) -> bool:
    """A quota, or another program, may fill a disk that had room a moment ago. HDF5 tells it in its text only."""
    return error.errno in _FULL or any(f"errno = {n}," in str(error) for n in _FULL)


def _bytes(value: Any) -> int:
    item = getattr(value.dtype, "size", None) or value.dtype.itemsize  # TensorFlow's types and NumPy's
    return int(math.prod(value.shape)) * int(item)


def _write(session: Session, draft: Draft) -> Manifest:
    position, spool = draft.position, session.spool
    name = session.next_name(position.epoch, position.step, draft.metrics.get("loss"))
    h5, pkl = spool.file(name.file("h5")), spool.file(name.file("pkl"))
    try:
        with replacing(h5, session.durable) as temporary:
            kind, inside = draft.write_h5(temporary)
        write_whole(pkl, codec.dumps(_document(draft, inside)), session.durable)
        manifest = Manifest(
            name=name,
            run=spool.run,
            batch=position.batch,
            kind=kind,
            reason=draft.reason[:200],
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            files={"h5": record_of(h5), "pkl": record_of(pkl)},
            metrics={key: value if math.isfinite(value) else None for key, value in draft.metrics.items()},
            origin={**session.origin},
        )
        spool.commit(manifest, session.durable)
    except BaseException:
        spool.remove(name)
        raise
    return manifest


def _document(draft: Draft, inside: Mapping[Place, str]) -> dict[str, Any]:
    position = draft.position
    return {
        "format": FORMAT,
        "position": {"epoch": position.epoch, "batch": position.batch, "step": position.step},
        "variables": [
            {
                "group": place.group,
                "index": place.index,
                "path": path,
                **({"h5": inside[place]} if place in inside else {"value": pack(np.asarray(value))}),
            }
            for place, (path, value) in draft.values.items()
        ],
        **draft.facts,
    }


@dataclass(frozen=True)
class Saved:
    """A pair as it was read: ``values`` are paths and arrays, ``facts`` the whole of the ``.pkl``."""

    position: Position
    values: Mapping[Place, tuple[str, np.ndarray]]
    facts: Mapping[str, Any]


def load(h5: Path, pkl: Path) -> Saved:
    """Reads a pair whose checksums were verified; arrays and plain values only. Raises InvalidPair."""
    document = codec.loads(pkl.read_bytes())
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidPair(f"{pkl.name}: its format is not known; upgrade holdfast")
    try:
        position = Position(**{key: int(value) for key, value in document["position"].items()})
        entries = {Place(str(e["group"]), int(e["index"])): e for e in document["variables"]}
        inside = {place: str(e["h5"]) for place, e in entries.items() if "h5" in e}
        values = read_arrays(h5, inside)
        values |= {place: unpack(e["value"]) for place, e in entries.items() if "h5" not in e}
        return Saved(position, {place: (str(e["path"]), values[place]) for place, e in entries.items()}, document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidPair(f"{pkl.name} is malformed: {error!r}") from None


def load_from(session: Session, name: CheckpointName) -> Saved:
    return load(session.spool.file(name.file("h5")), session.spool.file(name.file("pkl")))


def read_arrays(path: Path, names: Mapping[Place, str]) -> dict[Place, np.ndarray]:
    """Raises InvalidPair if the file is damaged or lacks an array."""
    try:
        with h5py.File(path, "r") as file:
            return {place: _array(file, name) for place, name in names.items()}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise InvalidPair(f"{path.name}: {error}") from None


def _array(file: h5py.File, name: str) -> np.ndarray:
    link = file.get(name, getlink=True)
    dataset = file[name]
    if not isinstance(link, h5py.HardLink) or not isinstance(dataset, h5py.Dataset) or dataset.external:
        raise InvalidPair(f"{name} is not an array inside of the file")
    return np.asarray(dataset[()])

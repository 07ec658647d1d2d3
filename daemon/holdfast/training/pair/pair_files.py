"""A pair on its way to disk and back, whatever framework its state comes from. Needs NumPy and h5py, no framework.

The ``.h5`` holds arrays; the ``.pkl`` holds all the rest, and says which array of the ``.h5`` is which variable, and at
which offset it stands. What an HDF5 file cannot hold stands in the ``.pkl`` as bytes.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...core import restricted_pickle
from ...core.checkpoint_name import CheckpointName
from ...core.errors import InvalidPair, one_line
from ...core.manifest import FileRecord, Manifest
from ...core.wording import bytes_text
from ...spool import Spool, record_in_parts, replacing, write_whole
from . import arrays
from .arrays import Piece
from .deferred import Deferred
from .h5_writer import WIDER, as_array
from .plain import narrow_type, pack, unpack
from .target import PairTarget

FORMAT = 1
RANKS = "ranks"
_SMALL_BYTES = 1 << 16
_MARGIN = 1 << 20
_NUMBER = 9  # a float, and the instruction before it
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

    @property
    def at(self) -> tuple[int, int, int]:
        return self.epoch, self.batch, self.step


@dataclass(frozen=True)
class Written:
    """A model file: its kind, which values stand ``inside`` it under which name, and its size and checksums.

    ``pieces`` tells where those stand that are in one piece; a value that has none goes into the ``.pkl``.
    """

    kind: str
    inside: Mapping[Place, str]
    record: FileRecord
    pieces: Mapping[str, Piece] = field(default_factory=dict)


class WriteH5(Protocol):
    """Writes the model file. ``most_dirty`` is as in ``write``; ``over`` is a file that may become this one."""

    def __call__(self, path: Path, most_dirty: int | None, over: Path | None = None, /) -> Written: ...


@dataclass(frozen=True)
class Draft:
    """All that goes into a pair.

    ``values`` are arrays (or tensors) with their paths. ``facts`` are plain values for the ``.pkl``, or Deferred ones.
    ``needs`` are the pairs that hold the states of the run's other trainings, ``artifacts`` the files that are stored
    before this pair. ``data`` and ``fit`` are the manifest's. ``taken`` is when the snapshot was taken, in monotonic
    seconds.
    """

    position: Position
    reason: str
    metrics: Mapping[str, float]
    values: Mapping[Place, tuple[str, Any]]
    facts: Mapping[str, Any]
    write_h5: WriteH5
    needs: tuple[CheckpointName, ...] = ()
    artifacts: tuple[str, ...] = ()
    data: str = ""
    fit: int = 1
    taken: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        """Bytes of all values, and of the facts."""
        return sum(_bytes(value) for _, value in self.values.values()) + _plain_bytes(self.facts)

    def digests(self) -> dict[str, str]:
        """Of the small values, by their paths: what is the same on all ranks of a gang, where these train together."""
        small = {path: value for path, value in self.values.values() if _bytes(value) <= _SMALL_BYTES}
        return {
            path: hashlib.blake2b(as_array(value).tobytes(), digest_size=8).hexdigest() for path, value in small.items()
        }

    def made_facts(self) -> dict[str, Any]:
        """Plain values. Once only, as the pair is written."""
        return {key: fact.make() if isinstance(fact, Deferred) else fact for key, fact in self.facts.items()}


def write(target: PairTarget, draft: Draft, most_dirty: int | None = None) -> Manifest:
    """Writes the pair: data files first, the manifest last.

    At most ``most_dirty`` bytes of the model file are in memory alone at any time, as a writer that waits for the disk
    can see to; None is for one that must not wait.

    Where the disk is full, older pairs make room as long as there are any that may go (PairTarget.make_room). Raises
    OSError if the disk does not take it even then.
    """
    need = draft.size + draft.size // 20 + _MARGIN
    while target.spool.free() < need and target.make_room():
        pass
    if target.spool.free() < need:
        text = f"no room for a checkpoint of {bytes_text(draft.size)}, {bytes_text(target.spool.free())} are free"
        raise OSError(errno.ENOSPC, text, str(target.spool.path))
    while True:
        try:
            return _write(target, draft, most_dirty)
        except OSError as error:
            if not _is_full(error) or not target.make_room():
                raise


def _is_full(error: OSError) -> bool:
    """A quota, or another program, may fill a disk that had room a moment ago. HDF5 tells it in its text only."""
    return error.errno in _FULL or any(f"errno = {n}," in str(error) for n in _FULL)


def _bytes(value: Any) -> int:
    item = getattr(value.dtype, "size", None) or value.dtype.itemsize  # TensorFlow's types and NumPy's
    return int(math.prod(value.shape)) * int(item)


def _plain_bytes(value: Any) -> int:
    """About as many as the ``.pkl`` needs for it."""
    match value:
        case str() | bytes():
            return len(value)
        case Deferred():
            return value.size
        case Mapping():
            return sum(_plain_bytes(key) + _plain_bytes(item) for key, item in value.items())
        case list() | tuple():
            return sum(map(_plain_bytes, value))
    return _NUMBER


def _write(target: PairTarget, draft: Draft, most_dirty: int | None) -> Manifest:
    position, spool = draft.position, target.spool
    name = target.next_name(position.epoch, position.step, draft.metrics.get("loss"))
    h5, pkl = spool.file(name.file("h5")), spool.file(name.file("pkl"))
    try:
        with replacing(h5, target.durable) as temporary, spool.retired() as over:
            written = draft.write_h5(temporary, most_dirty, over)
        facts = draft.made_facts()
        states = target.states_of_ranks(position.at, facts, draft.digests)
        document = {**_document(draft, written, facts), **({RANKS: dict(states)} if states else {})}
        write_whole(pkl, restricted_pickle.dumps(document), target.durable)
        manifest = Manifest(
            name=name,
            run=spool.run,
            batch=position.batch,
            kind=written.kind,
            reason=one_line(draft.reason)[:200],
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017  # Python 3.10 has no UTC
            files={"h5": written.record, "pkl": record_in_parts(pkl)},
            metrics={key: value if math.isfinite(value) else None for key, value in draft.metrics.items()},
            origin={**target.origin},
            needs=draft.needs,
            artifacts=draft.artifacts,
            data=draft.data,
            fit=draft.fit,
            ranks=1 + len(states),
        )
        _check(manifest)
        spool.commit(manifest, target.durable)
    except BaseException:
        spool.remove(name)
        raise
    return manifest


def _check(manifest: Manifest) -> None:
    """Raises ValueError or InvalidPair for a pair that no start could use: it must not replace a good one."""
    if CheckpointName.parse(str(manifest.name)) != manifest.name:
        raise ValueError(f"{manifest.name} is no checkpoint's name: a count in it is negative or too large")
    Manifest.from_json(manifest.to_json(), manifest.name)


def _document(draft: Draft, written: Written, facts: Mapping[str, Any]) -> dict[str, Any]:
    position = draft.position

    def content(place: Place, value: Any) -> dict[str, Any]:
        name = written.inside.get(place)
        if name is not None and name in written.pieces:
            own = as_array(value).dtype.name
            narrow = {"as": own} if own in WIDER else {}
            return {"h5": name, "at": written.pieces[name].plain(), **narrow}
        return {"value": pack(as_array(value))}

    return {
        "format": FORMAT,
        "position": {"epoch": position.epoch, "batch": position.batch, "step": position.step},
        "variables": [
            {
                "group": place.group,
                "index": place.index,
                "path": path,
                **content(place, value),
            }
            for place, (path, value) in draft.values.items()
        ],
        **facts,
    }


@dataclass(frozen=True)
class Saved:
    """A pair as it was read: ``values`` are paths and arrays, ``facts`` the whole of the ``.pkl``, ``needs`` the
    manifest's.
    """

    position: Position
    values: Mapping[Place, tuple[str, np.ndarray]]
    facts: Mapping[str, Any]
    needs: tuple[CheckpointName, ...] = ()


def load(h5: Path, pkl: Path) -> Saved:
    """Reads a pair whose checksums were verified; arrays and plain values only. Raises InvalidPair.

    The checksums were written with the files: nothing in them is taken on trust.
    """
    document = restricted_pickle.loads(_content(pkl))
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidPair(f"{pkl.name}: its format is not known; upgrade holdfast")
    try:
        position = Position(**{key: _count(document["position"][key]) for key in ("epoch", "batch", "step")})
        entries = {Place(_text(e["group"]), _count(e["index"])): e for e in document["variables"]}
        paths = {place: _text(e["path"]) for place, e in entries.items()}
        names = {place: _text(e["h5"]) for place, e in entries.items() if "h5" in e}
        pieces = {names[place]: Piece.of(*entries[place]["at"]) for place in names if "at" in entries[place]}
        narrow = {place: narrow_type(e["as"]) for place, e in entries.items() if "h5" in e and "as" in e}
        packed = {place: unpack(e["value"]) for place, e in entries.items() if "h5" not in e}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidPair(f"{pkl.name} is malformed: {type(error).__name__}: {error}") from None
    if unknown := [name for name in names.values() if name not in pieces]:  # older versions noted no offsets
        pieces |= arrays.locate(h5, unknown)
    found = arrays.read(h5, pieces)
    values = {place: packed[place] if place in packed else found[names[place]] for place in entries}
    values |= {place: values[place].astype(dtype) for place, dtype in narrow.items()}
    return Saved(position, {place: (paths[place], values[place]) for place in entries}, document)


def load_from(spool: Spool, name: CheckpointName) -> Saved:
    """Raises InvalidPair, also if the pair is not where its name says."""
    saved = load(spool.file(name.file("h5")), spool.file(name.file("pkl")))
    manifest = spool.manifest(name)
    position = Position(name.epoch, manifest.batch, name.step)
    if saved.position != position:
        raise InvalidPair(f"its .pkl is about {saved.position}, and its manifest about {position}")
    return replace(saved, needs=manifest.needs)


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2:  # its values are copies
            raise InvalidPair(f"{path.name} has {size} bytes: this machine's memory does not hold its values")
        return path.read_bytes()
    except OSError as error:
        raise InvalidPair(f"{path.name} cannot be read: {error.strerror}") from None


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError("not a count")
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("not a text")
    return value

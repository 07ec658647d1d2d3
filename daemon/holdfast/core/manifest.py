"""The manifest of a checkpoint.

A checkpoint is a pair of data files (``.h5`` and ``.pkl``) and a manifest (``.json``) written after them. A pair
without a manifest does not exist.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .artifacts import from_key, to_key
from .checkpoint_name import CheckpointName
from .errors import InvalidPair

FORMAT = 1
PARTS = ("h5", "pkl")
MAX_MANIFEST_BYTES = 1 << 20
LAST_EPOCH = "last epoch"
LASTING = ("epoch", LAST_EPOCH)

MAX_DEPTH = 16
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CRC32 = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class FileRecord:
    """``crc32`` goes with an upload, for stores that verify it; pairs of early versions have none."""

    size: int
    sha256: str
    crc32: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Manifest:
    """What is known of a pair without opening it.

    ``kind`` is ``model`` (the .h5 is a full Keras model file), ``weights`` (a Keras weights file: the model cannot
    be stored whole) or ``arrays`` (written by ``holdfast.session``). ``batch`` counts the batches done in the
    current epoch. ``origin`` is what the result depends on: command, script, versions, CPU family. ``needs`` are the
    pairs with the states of the run's other trainings, which the command's next start restores besides this one.
    ``artifacts`` are the files under ``artifacts/`` that the callbacks' state is about (a best model's), by their paths
    there: they are stored before the pair is.
    """

    name: CheckpointName
    run: str
    batch: int
    kind: str
    reason: str
    created: str
    files: Mapping[str, FileRecord]
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[CheckpointName, ...] = ()
    artifacts: tuple[str, ...] = ()

    @property
    def lasting(self) -> bool:
        """Is it an epoch's pair, worth keeping? The others are of use for resuming only."""
        return self.batch == 0 or self.reason in LASTING

    @property
    def size(self) -> int:
        return sum(record.size for record in self.files.values())

    def to_json(self) -> bytes:
        document = {
            "format": FORMAT,
            "name": str(self.name),
            "run": self.run,
            "epoch": self.name.epoch,
            "batch": self.batch,
            "step": self.name.step,
            "loss": self.name.loss,
            "finite": self.name.finite,
            "incarnation": self.name.incarnation,
            "save": self.name.save,
            "kind": self.kind,
            "reason": self.reason,
            "created": self.created,
            "files": {part: _record(record) for part, record in self.files.items()},
            "metrics": {k: v if v is None or math.isfinite(v) else None for k, v in self.metrics.items()},
            "origin": dict(self.origin),
            "needs": [str(name) for name in self.needs],
            "artifacts": [to_key(path) for path in self.artifacts],
        }
        return json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, expected: CheckpointName) -> Manifest:
        """Reads a manifest that may be damaged or hostile.

        Raises InvalidPair unless it is whole, of a known format and about ``expected``.
        """
        document = _document(data, str(expected))
        if document.get("format") != FORMAT:
            raise InvalidPair(f"{expected}: manifest format {document.get('format')!r} is not known; upgrade holdfast")
        if document.get("name") != str(expected):
            raise InvalidPair(f"{expected}: the manifest is about another checkpoint")
        batch = document.get("batch")
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 0:
            raise InvalidPair(f"{expected}: the manifest's batch is not a count")
        return cls(
            name=expected,
            run=_run(document, expected),
            batch=batch,
            kind=_text(document, "kind", expected),
            reason=_text(document, "reason", expected),
            created=_text(document, "created", expected),
            files=_files(document.get("files"), expected),
            metrics=_metrics(document, expected),
            origin=_mapping(document, "origin", expected),
            needs=_needs(document, expected),
            artifacts=_artifacts(document, expected),
        )


def _record(record: FileRecord) -> dict[str, Any]:
    crc32 = {} if record.crc32 is None else {"crc32": f"{record.crc32:08x}"}
    return {"size": record.size, "sha256": record.sha256, **crc32}


def _document(data: bytes, name: str) -> dict[str, Any]:
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidPair(f"{name}: a manifest of {len(data)} bytes is not credible")
    try:
        document = json.loads(
            data.decode("utf-8"), parse_float=_finite, parse_constant=_finite, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError) as error:
        raise InvalidPair(f"{name}: the manifest is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidPair(f"{name}: the manifest is not a JSON object")
    if not _shallow(document, MAX_DEPTH):
        raise InvalidPair(f"{name}: the manifest is nested deeper than {MAX_DEPTH}")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses an object that has a key twice: readers differ in which value they take."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _shallow(value: Any, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_shallow(item, levels - 1) for item in inside)


def _text(document: Mapping[str, Any], key: str, name: CheckpointName) -> str:
    value = document.get(key)
    if not isinstance(value, str) or len(value) > 1000 or not value.isprintable():
        raise InvalidPair(f"{name}: the manifest's {key} is not a short text")
    return value


def _run(document: Mapping[str, Any], name: CheckpointName) -> str:
    """A run's id is also the name of a folder, so it must not lead out of one."""
    value = _text(document, "run", name)
    if _RUN.fullmatch(value) is None:
        raise InvalidPair(f"{name}: the manifest's run is not a run's id")
    return value


def _mapping(document: Mapping[str, Any], key: str, name: CheckpointName) -> dict[str, Any]:
    value = document.get(key, {})
    if not isinstance(value, dict):
        raise InvalidPair(f"{name}: the manifest's {key} is not an object")
    return value


def _metrics(document: Mapping[str, Any], name: CheckpointName) -> dict[str, float | None]:
    metrics = _mapping(document, "metrics", name)
    for key, value in metrics.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        if value is not None and not number:
            raise InvalidPair(f"{name}: the manifest's metric {key[:40]!r} is not a number")
    return metrics


def _needs(document: Mapping[str, Any], name: CheckpointName) -> tuple[CheckpointName, ...]:
    """Pairs of early versions need no other."""
    value = document.get("needs", [])
    found = [CheckpointName.parse(text) for text in value] if _are_texts(value) else [None]
    needed = tuple(one for one in found if one is not None)
    if len(needed) != len(found) or len(set(needed)) != len(needed) or name in needed:
        raise InvalidPair(f"{name}: the manifest's needs are not the names of other checkpoints")
    return needed


def _artifacts(document: Mapping[str, Any], name: CheckpointName) -> tuple[str, ...]:
    """As the store's keys spell them. Pairs of early versions have none."""
    value = document.get("artifacts", [])
    try:
        if _are_texts(value):
            return tuple(map(from_key, value))
    except ValueError:
        pass
    raise InvalidPair(f"{name}: the manifest's artifacts are not the names of such files")


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _files(value: Any, name: CheckpointName) -> dict[str, FileRecord]:
    if not isinstance(value, dict) or set(value) != set(PARTS):
        raise InvalidPair(f"{name}: the manifest does not list exactly {' and '.join(PARTS)}")
    return {part: _file(value[part], part, name) for part in PARTS}


def _file(value: Any, part: str, name: CheckpointName) -> FileRecord:
    if not isinstance(value, dict):
        raise InvalidPair(f"{name}: what the manifest says of its .{part} is no object")
    size, sha256, crc32 = value.get("size"), value.get("sha256"), value.get("crc32")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 50:
        raise InvalidPair(f"{name}: the size of its .{part} is not credible")
    if not isinstance(sha256, str) or _SHA256.fullmatch(sha256) is None:
        raise InvalidPair(f"{name}: the checksum of its .{part} is malformed")
    if crc32 is not None and (not isinstance(crc32, str) or _CRC32.fullmatch(crc32) is None):
        raise InvalidPair(f"{name}: the CRC of its .{part} is malformed")
    return FileRecord(size, sha256, None if crc32 is None else int(crc32, 16))

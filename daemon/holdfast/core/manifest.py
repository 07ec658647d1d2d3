"""The manifest of a checkpoint.

A checkpoint is a pair of data files (``.h5`` and ``.pkl``) and a manifest (``.json``) written after them. A pair
without a manifest does not exist.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from .artifacts import from_key, to_key
from .checkpoint_name import CheckpointName
from .errors import InvalidPair

FORMAT, FORMAT_WITH_PARTS = 1, 2
PARTS = ("h5", "pkl")
MAX_MANIFEST_BYTES = 1 << 20
LAST_EPOCH = "last epoch"
LASTING = ("epoch", LAST_EPOCH)

MAX_DEPTH = 16
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CRC32 = re.compile(r"[0-9a-f]{8}")


LEAST_PART_BYTES = 5 << 20
"""Of every part but the last: S3's own limit."""


@dataclass(frozen=True)
class FileParts:
    """The checksums of a large file's parts, in order. All have ``size`` bytes, but for the last, which may be shorter.

    What has not changed since an earlier pair is known by them.
    """

    size: int
    sha256: tuple[str, ...]
    crc32: tuple[int, ...] = field(compare=False)

    def whole(self) -> str:
        """The SHA-256 of the parts' SHA-256, as bytes one after the other."""
        return hashlib.sha256(bytes.fromhex("".join(self.sha256))).hexdigest()


@dataclass(frozen=True)
class FileRecord:
    """``sha256`` is the content's, or ``parts.whole()`` where there are parts. ``crc32`` goes with an upload, for
    stores that verify it; pairs of early versions have none.
    """

    size: int
    sha256: str
    crc32: int | None = field(default=None, compare=False)
    parts: FileParts | None = None

    @property
    def part_size(self) -> int | None:
        return None if self.parts is None else self.parts.size


@dataclass(frozen=True)
class Manifest:
    """What is known of a pair without opening it.

    ``kind`` is ``model`` (the .h5 is a full Keras model file), ``weights`` (a Keras weights file: the model cannot
    be stored whole) or ``arrays`` (written by ``holdfast.session``). ``batch`` counts the batches done in the
    current epoch. ``origin`` is what the result depends on: command, script, versions, CPU family. ``needs`` are the
    pairs with the states of the run's other trainings, which the command's next start restores besides this one.
    ``artifacts`` are the files under ``artifacts/`` that the callbacks' state is about (a best model's), by their paths
    there: they are stored before the pair is. ``data`` says in words how the position in the training's data is saved.
    ``fit`` is the number of its training among those of the run, from 1 on. ``ranks`` is how many machines trained it
    together.
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
    data: str = ""
    fit: int = 1
    ranks: int = 1

    @property
    def lasting(self) -> bool:
        """Is it an epoch's pair, worth keeping? The others are of use for resuming only."""
        return self.batch == 0 or self.reason in LASTING

    @property
    def size(self) -> int:
        return sum(record.size for record in self.files.values())

    def to_json(self) -> bytes:
        in_parts = any(record.parts for record in self.files.values())
        document = {
            "format": FORMAT_WITH_PARTS if in_parts else FORMAT,  # earlier versions still read a pair without parts
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
            "data": self.data,
            "fit": self.fit,
            "ranks": self.ranks,
        }
        return json.dumps(document, indent=1, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls, data: bytes, expected: CheckpointName) -> Manifest:
        """Reads a manifest that may be damaged or hostile.

        Raises InvalidPair unless it is whole, of a known format and about ``expected``.
        """
        document = _document(data, str(expected))
        if document.get("format") not in (FORMAT, FORMAT_WITH_PARTS):
            raise InvalidPair(f"{expected}: manifest format {document.get('format')!r} is not known; upgrade holdfast")
        if document.get("name") != str(expected):
            raise InvalidPair(f"{expected}: the manifest is about another checkpoint")
        return cls(
            name=expected,
            run=_run(document, expected),
            batch=_count(document, "batch", 0, expected),
            kind=_text(document, "kind", expected),
            reason=_text(document, "reason", expected),
            created=_text(document, "created", expected),
            files=_files(document.get("files"), expected),
            metrics=_metrics(document, expected),
            origin=_mapping(document, "origin", expected),
            needs=_needs(document, expected),
            artifacts=_artifacts(document, expected),
            data=_text({"data": "", **document}, "data", expected),
            fit=_count({"fit": 1, **document}, "fit", 1, expected),
            ranks=_count({"ranks": 1, **document}, "ranks", 1, expected),
        )


def _record(record: FileRecord) -> dict[str, Any]:
    crc32 = {} if record.crc32 is None else {"crc32": f"{record.crc32:08x}"}
    if (parts := record.parts) is None:
        return {"size": record.size, "sha256": record.sha256, **crc32}
    sums = {"sha256": list(parts.sha256), "crc32": [f"{one:08x}" for one in parts.crc32]}
    return {"size": record.size, "sha256_of_parts": record.sha256, **crc32, "parts": {"size": parts.size, **sums}}


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


def _count(document: Mapping[str, Any], key: str, least: int, name: CheckpointName) -> int:
    value = document.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidPair(f"{name}: the manifest's {key} is not a count")
    return value


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
    size, crc32, in_parts = value.get("size"), value.get("crc32"), "parts" in value
    sha256 = value.get("sha256_of_parts" if in_parts else "sha256")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 50:
        raise InvalidPair(f"{name}: the size of its .{part} is not credible")
    if not _is_hex(sha256, _SHA256):
        raise InvalidPair(f"{name}: the checksum of its .{part} is malformed")
    if crc32 is not None and not _is_hex(crc32, _CRC32):
        raise InvalidPair(f"{name}: the CRC of its .{part} is malformed")
    parts = _parts(value["parts"], size, f"{name}: the parts of its .{part}") if in_parts else None
    if parts is not None and parts.whole() != sha256:
        raise InvalidPair(f"{name}: the checksum of its .{part} is not that of its parts")
    return FileRecord(size, sha256, None if crc32 is None else int(crc32, 16), parts)


def _parts(value: Any, size: int, what: str) -> FileParts:
    found = value if isinstance(value, dict) else {}
    length = found.get("size")
    if not isinstance(length, int) or length < LEAST_PART_BYTES:
        raise InvalidPair(f"{what} are not of a credible size")
    sha256 = [one for one in _list(found.get("sha256")) if _is_hex(one, _SHA256)]
    crc32 = [int(one, 16) for one in _list(found.get("crc32")) if _is_hex(one, _CRC32)]
    if not len(_list(found.get("sha256"))) == len(sha256) == len(crc32) == -(-size // length):
        raise InvalidPair(f"{what} do not have a checksum each")
    return FileParts(length, tuple(sha256), tuple(crc32))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_hex(value: Any, form: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and form.fullmatch(value) is not None

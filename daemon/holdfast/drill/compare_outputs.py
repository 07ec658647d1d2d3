"""The files that a script wrote, as far as two trainings' can be compared.

``contents`` gives a digest for each thing that can be told apart: a file, or a tag of a folder's TensorBoard logs. What
tells the time and not the result takes no part: an event's wall time, the dates in a zip file and in Keras' metadata,
addresses in memory. So do the numbers in Keras' names (``dense_3``): one that skips what is done makes fewer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any

from .event_files import is_event_file, summaries

_CHUNK = 1 << 20
_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_OPAQUE = ("saved_model.pb", "fingerprint.pb")
_KERAS = ("metadata.json", "config.json")
_MODEL = "keras"  # Keras' TensorBoard describes the model there, with its names
_DATE, _ADDRESS = "date_saved", "shared_object_id"


class Names:
    """Numbers what Keras has numbered anew, in the order in which it is met: ``dense_3`` and ``dense_4`` become
    ``dense#0`` and ``dense#1``.
    """

    def __init__(self) -> None:
        self._met: dict[str, dict[str, int]] = {}

    def of(self, name: str) -> str:
        base = re.sub(r"(?<=[a-z])_[0-9]+$", "", name)
        met = self._met.setdefault(base, {})
        return f"{base}#{met.setdefault(name, len(met))}"


@dataclass(frozen=True)
class FilesCompared:
    """Names that ``differ``, and those that were ``left_out`` since two undisturbed trainings' differ as well."""

    differ: tuple[str, ...]
    left_out: tuple[str, ...]


def files_below(folder: Path) -> dict[str, Path]:
    """The files in ``folder`` by their path below it; none where it does not exist."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def contents(files: Mapping[str, Path]) -> dict[str, str]:
    """A digest of each thing that can be compared."""
    logs: dict[str, dict[str, dict[int, bytes]]] = {}
    found = {}
    for name, path in files.items():
        if is_event_file(path) and _add_log(logs.setdefault(str(PurePath(name).parent), {}), path):
            continue
        found[name] = "" if path.name in _OPAQUE else _digest(path)
    for folder, tags in logs.items():
        for tag, steps in tags.items():
            if tag == _MODEL:
                continue
            found[f"{folder}, {tag} (TensorBoard)"] = _sum(f"{n}:{steps[n].hex()}" for n in sorted(steps))
    return found


def compare_files(
    reference: Mapping[str, str], again: Mapping[str, str], interrupted: Mapping[str, str]
) -> FilesCompared:
    """``again`` is a second undisturbed training's: what differs between these two is of no result."""
    unstable = {name for name in {*reference, *again} if reference.get(name) != again.get(name)}
    opaque = {name for name in reference if not reference[name]}
    shapes = {_shape(name) for name in unstable if name not in reference or name not in again}
    differ, left_out = [], {*unstable, *opaque}
    for name in sorted({*reference, *interrupted}):
        if name in left_out or reference.get(name) == interrupted.get(name):
            continue
        if name not in reference and _shape(name) in shapes:  # a time or a process id is part of its name
            left_out.add(name)
        else:
            differ.append(name)
    return FilesCompared(tuple(differ), tuple(sorted(left_out)))


def _shape(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _add_log(tags: dict[str, dict[int, bytes]], path: Path) -> bool:
    """What was written for a step last counts: batches that are done again are written again."""
    try:
        found = list(summaries(path))
    except ValueError:
        return False
    for tag, step, value in found:
        tags.setdefault(tag, {})[step] = value
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return _digest_of(file, path.name)


def _digest_of(file: IO[bytes], name: str) -> str:
    start = file.read(len(_HDF5))
    file.seek(0)
    if start == _HDF5:
        return _hdf5(file)
    if start.startswith(_ZIP):
        return _zip(file)
    if PurePath(name).name in _KERAS:
        return _json(file)
    whole = hashlib.sha256()
    while piece := file.read(_CHUNK):
        whole.update(piece)
    return whole.hexdigest()


def _zip(file: IO[bytes]) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            members = []
            for name in sorted(archive.namelist()):
                with archive.open(name) as member:
                    members.append(f"{name} {_digest_of(member, name)}")
            return _sum(members)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        file.seek(0)
        return hashlib.sha256(file.read()).hexdigest()


def _hdf5(file: IO[bytes]) -> str:
    """Its datasets and attributes: where in the file they stand is no difference."""
    import h5py

    lines: list[str] = []

    names = Names()

    def add(name: str, item: Any) -> None:
        given = {key: item.attrs[key] for key in sorted(item.attrs)}
        lines.extend(f"{name}@{key} {_bytes(names.of(x) if isinstance(x, str) else x)}" for key, x in given.items())
        if isinstance(item, h5py.Dataset):
            lines.append(f"{name} {item.dtype} {item.shape} {_bytes(item[()])}")

    try:
        with h5py.File(file, "r") as opened:
            add("/", opened)
            opened.visititems(add)
    except (OSError, RuntimeError, TypeError, ValueError):
        file.seek(0)
        return hashlib.sha256(file.read()).hexdigest()
    return _sum(sorted(lines))


def _bytes(value: Any) -> str:
    import numpy as np

    array = np.asarray(value)
    data = repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes()
    return hashlib.sha256(data).hexdigest()


def _json(file: IO[bytes]) -> str:
    """Keras writes the date, and which layers share an object by that object's address in memory."""
    data = file.read()
    with contextlib.suppress(ValueError):
        data = json.dumps(_timeless(json.loads(data), {}, Names()), sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def _timeless(value: Any, numbers: dict[Any, int], names: Names) -> Any:
    if isinstance(value, str):
        return names.of(value)
    if isinstance(value, list):
        return [_timeless(one, numbers, names) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: _timeless(one, numbers, names) for key, one in value.items() if key not in (_DATE, _ADDRESS)}
    if _ADDRESS in value:
        found[_ADDRESS] = numbers.setdefault(str(value[_ADDRESS]), len(numbers))
    return found


def _sum(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

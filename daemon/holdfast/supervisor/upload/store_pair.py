"""The commit of a pair to the store: what is written in which order (design invariant 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ...core.checkpoint_name import CheckpointName
from ...core.errors import Conflict, Corrupted, InvalidPair, NotFound, Transient
from ...core.manifest import PARTS, FileRecord, Manifest
from ...spool import Spool
from ...store import KnownParts, OnSent, Store
from ...store.at_once import at_once
from ...store.streams import unreadable


@dataclass(frozen=True)
class EarlierPair:
    """A pair of the same run that the store has: its unchanged parts need not be sent again (KnownParts)."""

    manifest: Manifest
    copied: OnSent
    cannot: Callable[[str], None]


def store_pair(
    store: Store,
    spool: Spool,
    name: CheckpointName,
    progress: OnSent | None = None,
    new: bool = False,
    earlier: EarlierPair | None = None,
) -> Manifest:
    """Data first, manifest last and create-only (design invariant 1). ``new``: the store cannot have that name yet.

    Raises InvalidPair or SourceError if the pair in the spool is no good, Conflict if the name is another pair's, the
    store's other errors, and what ``progress`` raises.
    """
    manifest = _read(spool, name)
    key, data = f"{spool.run}/{name.file('json')}", manifest.to_json()
    if new or not _is_stored(store, key, data):  # the data of a pair that exists is never written again
        _put_data(store, spool, manifest, progress, earlier)
        try:
            store.create(key, data)
        except Conflict as error:  # our own, by an earlier try whose answer was lost; else it is raised
            if not _is_stored(store, key, data):
                raise Transient(f"{key} was neither written nor there before: {error}") from None
    return manifest


def _read(spool: Spool, name: CheckpointName) -> Manifest:
    try:
        manifest = spool.manifest(name)
        sizes = {part: spool.file(name.file(part)).stat().st_size for part in manifest.files}
    except OSError as error:
        raise unreadable(error.filename or name, error) from error
    for part, record in manifest.files.items():
        if sizes[part] != record.size:
            raise InvalidPair(f"{name}: its .{part} is not what its manifest says")
    return manifest


def _put_data(
    store: Store, spool: Spool, manifest: Manifest, progress: OnSent | None, earlier: EarlierPair | None
) -> None:
    """Both files, side by side where the store is far.

    They are compared with the checksums that were taken when the files were written.
    """

    def put(part: str) -> None:
        file = manifest.name.file(part)
        known = _known_parts(spool.run, manifest, part, earlier)
        try:
            store.put(f"{spool.run}/{file}", spool.file(file), manifest.files[part].crc32, progress, known)
        except Corrupted:
            spool.verify(manifest)  # damaged on this disk: no other try will help
            raise

    at_once(store, (partial(put, part) for part in PARTS))


def _known_parts(run: str, manifest: Manifest, part: str, earlier: EarlierPair | None) -> KnownParts | None:
    record, key = manifest.files[part], f"{run}/{manifest.name.file(part)}"
    if record.parts is None:
        return None
    if earlier is None or earlier.manifest.name == manifest.name:
        return KnownParts(key, record.parts)
    source = f"{run}/{earlier.manifest.name.file(part)}"
    same = _unchanged(record, earlier.manifest.files[part])
    return KnownParts(key, record.parts, source, same, earlier.copied, earlier.cannot)


def _unchanged(record: FileRecord, earlier: FileRecord) -> frozenset[int]:
    """The indices of the parts that both files have at the same place."""
    if record.parts is None or earlier.parts is None or record.parts.size != earlier.parts.size:
        return frozenset()
    both = zip(record.parts.sha256, earlier.parts.sha256, strict=False)
    return frozenset(index for index, (one, other) in enumerate(both) if one == other)


def _is_stored(store: Store, key: str, data: bytes) -> bool:
    """True if this very manifest is there: an earlier try arrived, and only its answer was lost.

    Raises Conflict if another pair has the name.
    """
    try:
        there, _ = store.get(key)
    except NotFound:
        return False
    if there != data:
        raise Conflict(f"{key} is another pair's manifest")
    return True

"""The commit of a pair to the store: what is written in which order (design invariant 1)."""

from __future__ import annotations

from ...core.checkpoint_name import CheckpointName
from ...core.errors import Conflict, Corrupted, InvalidPair, NotFound, Transient
from ...core.manifest import PARTS, Manifest
from ...spool import Spool
from ...store import OnSent, Store


def store_pair(store: Store, spool: Spool, name: CheckpointName, progress: OnSent | None = None) -> Manifest:
    """Data first, manifest last and create-only (design invariant 1).

    Raises InvalidPair, SourceError or OSError if the pair in the spool is no good, Conflict if the name is another
    pair's, the store's other errors, and what ``progress`` raises.
    """
    manifest = spool.manifest(name)
    for part, record in manifest.files.items():
        if spool.file(name.file(part)).stat().st_size != record.size:
            raise InvalidPair(f"{name}: its .{part} is not what its manifest says")
    key, data = f"{spool.run}/{name.file('json')}", manifest.to_json()
    if not _is_stored(store, key, data):  # the data of a pair that exists is never written again
        _put_data(store, spool, manifest, progress)
        try:
            store.create(key, data)
        except Conflict as error:  # our own, by an earlier try whose answer was lost; else it is raised
            if not _is_stored(store, key, data):
                raise Transient(f"{key} was neither written nor there before: {error}") from None
    return manifest


def _put_data(store: Store, spool: Spool, manifest: Manifest, progress: OnSent | None) -> None:
    """The checksums travel along: they were taken when the files were written, and a store that can compares them."""
    for part in PARTS:
        file = manifest.name.file(part)
        try:
            store.put(f"{spool.run}/{file}", spool.file(file), manifest.files[part].crc32, progress)
        except Corrupted:
            spool.verify(manifest)  # damaged on this disk: no other try will help
            raise


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

"""Fetching a pair's files without trusting the store: no more bytes than announced, none unchecked."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from ..core.errors import InvalidPair, NotFound, SettingsError
from ..core.manifest import MAX_MANIFEST_BYTES, FileRecord, Manifest
from ..core.runs import RunId
from ..spool import check_file
from ..store import Store
from ..store.catalog import read_manifest
from ..store.contents import Listed

_MARGIN = 1 << 20
_TRIES = 2


def manifest_of(store: Store, run: RunId, listed: Listed) -> Manifest:
    """Raises InvalidPair for a manifest that is damaged, another run's, or of an absurd size."""
    size = listed.sizes["json"]
    if size > MAX_MANIFEST_BYTES:
        raise InvalidPair(f"a manifest of {size} bytes is not credible")
    return read_manifest(store, str(run), listed.name)


def check_listed(listed: Listed, part: str, record: FileRecord) -> None:
    """Raises InvalidPair if the listing alone tells that the file is not the manifest's."""
    size = listed.sizes.get(part)
    if size is None:
        raise InvalidPair(f"its .{part} is not in the store")
    if size != record.size:
        raise InvalidPair(f"its .{part} has {size} bytes where its manifest says {record.size}")


def fetch_part(store: Store, run: RunId, listed: Listed, part: str, record: FileRecord, path: Path) -> None:
    """Writes the file to ``path`` and checks every byte. Raises InvalidPair."""
    check_listed(listed, part, record)
    check_room(path.parent, record.size)
    for _ in range(_TRIES):
        try:
            store.fetch(f"{run}/{listed.name.file(part)}", path)
        except NotFound:
            raise InvalidPair(f"its .{part} is not in the store") from None
        path.chmod(0o600)  # a client that renames its own temporary file into place has not kept ours
        with contextlib.suppress(InvalidPair):  # damaged on its way, perhaps
            return check_file(path, record)
    raise InvalidPair(f"its .{part} differs from its checksum")


def check_room(folder: Path, size: int) -> None:
    """Raises SettingsError if the folder's disk cannot take so many bytes more."""
    free = shutil.disk_usage(folder).free
    if free < size + _MARGIN:
        raise SettingsError(
            f"{folder} has {free} bytes free and the next file needs {size}; make room there, or give another folder"
        )

"""Downloads a run's ``artifacts/`` to a folder of this machine, for people."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from ..core.artifacts import FOLDER, INDEX_FILE, MOST_INDEX_BYTES, from_key, read_index
from ..core.errors import NotFound, StoreError, TooLarge
from ..core.manifest import FileRecord
from ..spool import TEMPORARY, place, record_of
from ..store import Store
from ..store.contents import Contents
from ..store.download import Advance, check_room, is_present
from .pull import Pulled, Warn


def pull_artifacts(
    store: Store, contents: Contents, folder: Path, result: Pulled, warn: Warn, advance: Advance
) -> None:
    """Each file appears whole or not at all. One that cannot be downloaded is named, and the others still are."""
    index = _index(store, contents)
    for key, size, name in artifacts_of(contents, warn):
        advance(key, 0)
        record = index.get(name)
        try:
            _refuse_links(folder, f"{FOLDER}/{name}")
            if record is not None and is_present(folder / FOLDER / name, record):
                result.present += 1
            else:
                fetched = _fetch(store, f"{contents.run}/{FOLDER}/{key}", folder, name, size)
                result.fetched += 1
                if record is not None and fetched != record:
                    warn(f"{FOLDER}/{key}: differs from its checksum: damaged, or being replaced just now")
        except (OSError, NotFound, TooLarge) as error:
            warn(f"{FOLDER}/{key}: passed over: {error}")
        else:
            advance(key, size)


def artifacts_of(contents: Contents, warn: Warn) -> Iterator[tuple[str, int, str]]:
    """Key, size in bytes and path of each artifact; warns of keys that no artifact has."""
    for key, size in contents.others.items():
        below = key.removeprefix(f"{FOLDER}/")
        if below == key or key.endswith("/"):  # a client's marker of a folder
            continue
        try:
            path = from_key(below)
        except ValueError:
            warn(f"{key[:200]!r}: passed over, it is not the name of an artifact")
        else:
            yield below, size, path


def _fetch(store: Store, key: str, folder: Path, name: str, size: int) -> FileRecord:
    check_room(folder, size)
    with tempfile.TemporaryDirectory(".artifact", TEMPORARY, folder) as room:
        file = Path(room, "file")
        try:
            store.fetch(key, file, size)
        except ValueError as error:  # the store itself refuses such a key
            raise OSError(str(error)) from None
        file.chmod(0o600)
        record = record_of(file)
        place(folder / FOLDER, name, file, replace=True)
    return record


def _refuse_links(folder: Path, path: str) -> None:
    """Raises OSError if a folder on the way is a link: nothing may be written outside of ``folder``."""
    for at in PurePath(path).parents:
        if (folder / at).is_symlink() and at != PurePath():
            raise OSError(f"{at} is a link")


def _index(store: Store, contents: Contents) -> Mapping[str, FileRecord]:
    """The checksums in the store's index of artifacts; empty if there is no index that can be read."""
    if INDEX_FILE not in contents.others:
        return {}
    try:
        stored = read_index(store.get(f"{contents.run}/{INDEX_FILE}", MOST_INDEX_BYTES)[0])
    except (StoreError, ValueError):
        return {}
    return {path: FileRecord(one.size, one.sha256) for path, one in stored.items() if one.sha256}

"""Downloads a pair's files without trusting the store: no more bytes than the manifest says, and all are checked.

A file that fails its checksum is downloaded once more: it may have been damaged on the way only.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from ..core.checkpoint_name import CheckpointName
from ..core.errors import Corrupted, HoldfastError, InvalidPair, NotFound, SettingsError, TooLarge
from ..core.manifest import MAX_MANIFEST_BYTES, FileRecord, Manifest
from ..core.runs import RunId
from ..core.wording import bytes_text
from ..spool import Spool, check_file, has_content, replacing
from .base import Store
from .catalog import read_manifest
from .contents import Listed

Run: TypeAlias = RunId | str
Advance: TypeAlias = Callable[[str, int], None]
"""Called with a file's name and 0 when it begins, and with its name and size in bytes when it is done."""
T = TypeVar("T")
_MARGIN = 1 << 20
_TRIES = 2


@dataclass(frozen=True)
class Brought:
    """A pair that is in the spool. ``fetched`` of its files were downloaded; the others were there already."""

    manifest: Manifest
    fetched: int

    @property
    def present(self) -> int:
        return len(self.manifest.files) - self.fetched


def look_up(store: Store, run: Run, name: CheckpointName) -> Listed:
    """The pair's files and sizes, from a new listing."""
    sizes = {entry.key.rpartition(".")[2]: entry.size for entry in store.list(f"{run}/{name}.")}
    return Listed(name, sizes)


def manifest_of(store: Store, run: Run, listed: Listed) -> Manifest:
    """Raises InvalidPair for a manifest that is damaged, another run's, or of an absurd size."""
    size = listed.sizes.get("json", 0)
    if size > MAX_MANIFEST_BYTES:
        raise InvalidPair(f"a manifest of {size} bytes is not credible")
    try:
        return _again(lambda: read_manifest(store, str(run), listed.name), Corrupted)
    except Corrupted as error:
        raise InvalidPair(f"its manifest: {error}") from None


def announced(store: Store, run: Run, listed: Listed) -> Manifest:
    """The manifest, once the listing agrees with it: all checks that need no download. Raises InvalidPair."""
    manifest = manifest_of(store, run, listed)
    for part, record in manifest.files.items():
        check_listed(listed, part, record)
    return manifest


def check_listed(listed: Listed, part: str, record: FileRecord) -> None:
    """Raises InvalidPair if the listing shows that the file is missing or of another size than the manifest says."""
    size = listed.sizes.get(part)
    if size is None:
        raise InvalidPair(f"its .{part} is not in the store")
    if size != record.size:
        raise InvalidPair(f"its .{part} has {size} bytes where its manifest says {record.size}")


def bring(
    store: Store,
    run: Run,
    listed: Listed,
    spool: Spool,
    adapted: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    durable: bool = False,
    advance: Advance = lambda name, size: None,
) -> Brought:
    """Downloads a pair of ``run`` into the spool: data first, then the manifest that ``adapted`` makes of its own.

    Files that are there with the right content are kept. Raises InvalidPair; SettingsError if the disk has no room.
    """
    found = announced(store, run, listed)
    manifest = adapted(found)
    paths = {part: spool.file(manifest.name.file(part)) for part in found.files}
    missing = {part: record for part, record in found.files.items() if not is_present(paths[part], record)}
    if missing:
        spool.drop_retired()
    check_room(spool.path, sum(record.size for record in missing.values()))
    for part, record in found.files.items():
        advance(paths[part].name, 0)
        if part in missing:
            with replacing(paths[part], durable) as temporary:
                fetch_part(store, run, listed, part, record, temporary)
        advance(paths[part].name, record.size)
    spool.commit(manifest, durable)
    return Brought(manifest, len(missing))


def fetch_part(store: Store, run: Run, listed: Listed, part: str, record: FileRecord, path: Path) -> None:
    """Writes the file to ``path`` and checks every byte. Raises InvalidPair."""
    check_listed(listed, part, record)
    check_room(path.parent, record.size)

    def fetch() -> None:
        store.fetch(f"{run}/{listed.name.file(part)}", path, record.size)
        path.chmod(0o600)  # some clients rename a temporary file of their own into place
        check_file(path, record)

    try:
        _again(fetch, Corrupted, InvalidPair)
    except NotFound:
        raise InvalidPair(f"its .{part} is not in the store") from None
    except TooLarge:
        raise InvalidPair(f"its .{part} has more bytes than the {record.size} that its manifest says") from None
    except (Corrupted, InvalidPair):
        raise InvalidPair(f"its .{part} differs from its checksum") from None


def _again(call: Callable[[], T], *damage: type[HoldfastError]) -> T:
    """Calls, and calls once more if that raises ``damage``."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(*damage):
            return call()
    return call()


def is_present(path: Path, record: FileRecord) -> bool:
    """Is there a regular file with that content?"""
    try:
        return not path.is_symlink() and has_content(path, record)
    except OSError:
        return False


def check_room(folder: Path, size: int) -> None:
    """Raises SettingsError unless the folder's disk has room for ``size`` bytes more."""
    free = shutil.disk_usage(folder).free
    if free < size + _MARGIN:
        raise SettingsError(
            f"{folder}: no room for another {bytes_text(size)}, {bytes_text(free)} are free; make room there, or "
            "give a folder on another disk"
        )

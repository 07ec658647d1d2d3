"""Bringing a run's ``artifacts/`` to a folder of this machine, for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..core.artifacts import FOLDER, INDEX_FILE
from ..core.errors import NotFound, StoreError
from ..core.manifest import FileRecord
from ..spool import record_of, replacing
from ..store import Store
from ..store.contents import Contents
from .fetching import check_room
from .pull import Pulled, Warn, is_present
from .verify import Advance

_MOST_INDEX = 16 << 20
_ESCAPE = re.compile(rb"@([0-9A-F]{2})")


def pull_artifacts(
    store: Store, contents: Contents, folder: Path, result: Pulled, warn: Warn, advance: Advance
) -> None:
    """Each file appears whole or not at all; one that cannot be brought is named, and the others come all the same."""
    index = _index(store, contents)
    for key, size, parts in artifacts_of(contents, warn):
        advance(key, 0)
        path = folder.joinpath(FOLDER, *parts)
        record = index.get(key)
        if record is not None and is_present(path, record):
            result.present += 1
        else:
            try:
                _fetch(store, f"{contents.run}/{FOLDER}/{key}", folder, path, size)
            except (OSError, NotFound) as error:
                warn(f"{FOLDER}/{key}: passed over: {error}")
                continue
            result.fetched += 1
            if record is not None and record_of(path) != record:
                warn(f"{FOLDER}/{key}: differs from its checksum: damaged, or being replaced just now")
        advance(key, size)


def artifacts_of(contents: Contents, warn: Warn) -> Iterator[tuple[str, int, list[str]]]:
    """Key, bytes and the parts of the path of each artifact whose name stays inside of the folder."""
    for key, size in contents.others.items():
        below = key.removeprefix(f"{FOLDER}/")
        if below == key or key.endswith("/"):  # a client's marker of a folder
            continue
        parts = path_of(below)
        if parts is None:
            warn(f"{key[:200]!r}: passed over, its name is none of an artifact")
        else:
            yield below, size, parts


def path_of(key: str) -> list[str] | None:
    """The parts of the path that a key stands for (``@XX`` is a byte); None if they lead elsewhere."""
    plain = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), key.encode("utf-8", "surrogateescape"))
    parts = plain.decode("utf-8", "surrogateescape").split("/")
    harmless = all(part not in ("", ".", "..") and "\0" not in part and len(part) <= 255 for part in parts)
    return parts if harmless and len(parts) == key.count("/") + 1 else None


def _fetch(store: Store, key: str, folder: Path, path: Path, size: int) -> None:
    _make_folders(folder, path.parent)
    check_room(path.parent, size)
    with replacing(path, durable=False) as temporary:
        try:
            store.fetch(key, temporary)
        except ValueError as error:  # the store itself refuses such a key
            raise OSError(str(error)) from None
        temporary.chmod(0o600)


def _make_folders(root: Path, folder: Path) -> None:
    """Like mkdir with parents, but through no link: what the run holds stays in ``root``."""
    at = root
    for part in folder.relative_to(root).parts:
        at = at / part
        if at.is_symlink():
            raise OSError(f"{at} is a link")
        at.mkdir(mode=0o700, exist_ok=True)


def _index(store: Store, contents: Contents) -> Mapping[str, FileRecord]:
    """What the store's own list of artifacts says about their content; nothing where there is none to trust."""
    if not 0 < contents.others.get(INDEX_FILE, 0) <= _MOST_INDEX:
        return {}
    try:
        files = json.loads(store.get(f"{contents.run}/{INDEX_FILE}", _MOST_INDEX)[0])["files"]
        return {key: FileRecord(one["size"], one["sha256"]) for key, one in files.items() if one["sha256"]}
    except (StoreError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}

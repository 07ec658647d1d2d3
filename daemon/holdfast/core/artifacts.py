"""What a script writes under the run's ``artifacts/``: which files go to the store, under which keys, in which order.

A path is relative to that folder, with '/' between its parts. Under the limit, files that the store already has come
first, then the smallest: a new file must not displace one that is kept up to date, nor one large file the many small
ones (metrics, logs). Uploads go smallest first too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

FOLDER = "artifacts"
INDEX_FILE = "artifacts.json"
MOST_FILES = 10_000
MOST_INDEX_BYTES = 16 << 20
_LONGEST_PART, _LONGEST_KEY = 200, 700  # temporary names, the run's id and the store's prefix need room too
_QUIET_NS = 2 * 10**9
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._=+- ")
_ESCAPE = re.compile(rb"@([0-9A-F]{2})")


@dataclass(frozen=True)
class Limits:
    """``total`` bytes are kept in the store, 0 for none. ``interval``: seconds between two scans of the folder.

    ``wait``: seconds that a start may wait for the artifacts of earlier ones.
    """

    total: int = 1 << 30
    interval: float = 60.0
    wait: float = 60.0


class Seen(NamedTuple):
    size: int
    mtime_ns: int
    inode: int = 0


@dataclass(frozen=True)
class Stored:
    """A file as the store has it. Without ``sha256`` it changed while it was sent, so its end may be missing."""

    size: int
    mtime_ns: int
    sha256: str | None
    inode: int = 0

    def holds(self, seen: Seen) -> bool:
        """Is it the same as what was seen? Inodes are known within one process only: the index has none."""
        same = self.inode in (0, seen.inode)
        return same and (self.size, self.mtime_ns) == (seen.size, seen.mtime_ns)


@dataclass(frozen=True)
class Plan:
    """``bring`` is uploaded now. ``later`` are files that were just being written: they wait for the next scan only."""

    bring: tuple[str, ...]
    later: frozenset[str]
    left_out: dict[str, str]


def plan(
    tree: Mapping[str, Seen | str], stored: Mapping[str, Stored], later: Collection[str], limit: int, now_ns: int | None
) -> Plan:
    """``tree`` has for each path what was seen, or why it can't be stored. ``now_ns`` is on the clock of the files'
    times; None at the end, when no file may wait any longer.
    """
    left_out = {path: what for path, what in tree.items() if isinstance(what, str)}
    files = {path: what for path, what in tree.items() if isinstance(what, Seen)}
    wanted, room = [], limit
    for path, seen in sorted(files.items(), key=lambda item: (item[0] not in stored, item[1].size, item[0])):
        if not is_storable(path):
            left_out[path] = "its name is too long"
        elif seen.size > room:
            left_out[path] = f"it does not fit into --artifacts-limit ({limit} bytes)"
        else:
            room -= seen.size
            if path not in stored or not stored[path].holds(seen):
                wanted.append(path)
    fresh = {path for path in wanted if now_ns is not None and now_ns - files[path].mtime_ns < _QUIET_NS}
    put_off = frozenset(fresh.difference(later))
    bring = sorted((path for path in wanted if path not in put_off), key=lambda path: (files[path].size, path))
    return Plan(tuple(bring), put_off, left_out)


# --- names ---------------------------------------------------------------------------------------------------------


def to_key(path: str) -> str:
    """The store's key for a path: every byte that keys do not take becomes ``@`` and two hex digits.

    '=' and '+' stay as they are, since folders named ``lr=0.1`` are common. A leading dot is escaped: names that begin
    with one belong to the stores. Raises ValueError if the path has empty, '.' or '..' parts.
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError(f"not a relative path: {path!r}")
    return "/".join(map(_spell, parts))


def from_key(key: str) -> str:
    """The path of a key. Raises ValueError if ``to_key`` would never make that key."""
    plain = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), key.encode("ascii"))
    path = plain.decode("utf-8", "surrogateescape")
    if to_key(path) != key:
        raise ValueError(f"not an artifact's key: {key!r}")
    return path


def _spell(part: str) -> str:
    data = part.encode("utf-8", "surrogateescape")
    return "".join(
        chr(byte) if byte in _PLAIN and not (at == 0 and byte == ord(".")) else f"@{byte:02X}"
        for at, byte in enumerate(data)
    )


def is_storable(path: str) -> bool:
    key = to_key(path)
    return len(key) <= _LONGEST_KEY and all(len(part) <= _LONGEST_PART for part in key.split("/"))


def shown(paths: Iterable[str]) -> str:
    """For a person, without control characters or broken bytes: the first three, and how many more."""
    names = [path if path.isprintable() else ascii(path) for path in sorted(paths)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


# --- the index -----------------------------------------------------------------------------------------------------


def write_index(stored: Mapping[str, Stored]) -> bytes:
    files = {
        to_key(path): {"size": one.size, "mtime_ns": one.mtime_ns, "sha256": one.sha256}
        for path, one in sorted(stored.items())
    }
    return json.dumps({"format": 1, "files": files}, indent=0).encode()


def read_index(data: bytes) -> dict[str, Stored]:
    """Raises ValueError for anything but a well-formed index of paths that stay in their folder."""
    try:
        files = json.loads(data)["files"]
        found = {from_key(key): Stored(one["size"], one["mtime_ns"], one["sha256"]) for key, one in files.items()}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    for one in found.values():
        if type(one.size) is not int or type(one.mtime_ns) is not int or not isinstance(one.sha256, str | None):
            raise ValueError("its entries have other types")
        if not (0 <= one.size < 1 << 63 and 0 <= one.mtime_ns < 1 << 63):
            raise ValueError("its numbers are out of range")
    return found

"""The Store protocol.

Keys are relative paths with '/' between their parts. Errors are NotFound, Conflict, Transient and Permanent
(core/errors.py) and nothing else, but for SourceError where a local file cannot be read. Stores do not retry: the
caller decides that, in one place (supervisor/upload/uploader.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from ..core.manifest import FileParts
from ..spool import TEMPORARY

LOCK = ".store-lock"
_PART = re.compile(r"[A-Za-z0-9._=+@ -]{1,255}")

SMALL = 1 << 20
"""Bytes: the default limit of ``get``, and the most that ``replace`` works on."""

OnSent: TypeAlias = Callable[[int], None]
"""Called with the number of bytes sent since the last call, from any thread; a negative one where a store begins anew.

What it raises abandons the put.
"""


@dataclass(frozen=True)
class KnownParts:
    """The ``parts`` of a file that is put to ``key``, as they were recorded. Those whose indices are in ``same`` stand
    in the object ``source`` of the store as well, at the same place.

    A store that can copies these by itself, and calls ``copied`` with their bytes, from any thread. For the put's
    ``progress`` they count as sent. ``cannot`` receives, once, why a store copies none from now on.
    """

    key: str
    parts: FileParts
    source: str = ""
    same: frozenset[int] = frozenset()
    copied: OnSent = lambda count: None
    cannot: Callable[[str], None] = lambda why: None


@dataclass(frozen=True)
class Entry:
    """One line of a listing. A folder's key ends with '/' and its size is 0.

    ``modified`` is when the object was written, by the store's clock; None where the listing does not say.
    """

    key: str
    size: int
    modified: datetime | None = field(default=None, compare=False)


class Store(Protocol):
    """A flat space of objects that are whole or absent."""

    @property
    def uri(self) -> str:
        """As the user gave it, without secrets."""

    @property
    def durable_spool(self) -> bool:
        """Must the spool be synced to disk, as this store would die with the machine's page cache?"""

    @property
    def far(self) -> bool:
        """Does each answer cross a network, so that calls side by side are quicker than one after the other?"""

    def put(
        self,
        key: str,
        path: Path,
        crc32: int | None = None,
        progress: OnSent | None = None,
        known: KnownParts | None = None,
    ) -> None:
        """Stores a file's content under ``key``, and replaces what was there.

        What is ``known`` of its parts need not be found out, and parts that the store has need not be sent.
        ``crc32`` is the CRC-32 of the content as it was recorded before: where it differs, this raises Corrupted.
        What ``progress`` raises ends the put and is raised as it is. If the file cannot be read, it raises SourceError.
        After any of these, the object is as it was before.
        """

    def create(self, key: str, data: bytes) -> str:
        """Stores ``data`` under a new key and returns its tag; raises Conflict if the key exists."""

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        """Replaces an object that still has the tag ``if_match`` and returns the new one.

        Raises Conflict if it has another tag or is gone.
        """

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        """A small object's content and tag; raises NotFound, and TooLarge for one of more than ``most`` bytes."""

    def fetch(self, key: str, path: Path, most: int | None = None) -> None:
        """Writes an object's content to the file ``path``; raises NotFound, and TooLarge for one of more than ``most``
        bytes.

        No more than those reach the disk, whatever a listing said before, and ``path`` stays as it was.
        """

    def list(self, prefix: str, shallow: bool = False) -> list[Entry]:
        """All objects whose key starts with ``prefix``, ordered by key.

        ``shallow`` stops at the next '/': what lies deeper shows as one entry for its folder.
        """

    def delete(self, key: str) -> None:
        """Removes an object; one that is not there is no error."""

    def sweep(self, prefix: str) -> None:
        """Removes what unfinished writes to keys that start with ``prefix`` left behind.

        The caller holds the run's lease, so nobody else is writing data there. A process that asks for the lease may be
        in the middle of a small write; that write then raises Transient.
        """


@runtime_checkable
class HasEndpoint(Protocol):
    """A store behind an address."""

    @property
    def endpoint(self) -> str:
        """Its URL: the same bucket's name may mean another product there."""


@runtime_checkable
class HasFolder(Protocol):
    """A store in a folder of this machine."""

    def missing(self) -> list[Path]:
        """That folder and those above it that are not there yet, the deepest first. Raises StoreError."""

    def unmake(self, folders: list[Path]) -> None:
        """Removes what ``missing`` gave, unless something was stored there meanwhile."""

    def remove_empty(self, folder: str) -> None:
        """Removes the folders of that key (which ends with '/') and below it, as far as they are empty."""


def check_key(key: str) -> str:
    """Returns ``key``; raises ValueError unless it is a relative path without '..' and the like."""
    if not all(_harmless(part) for part in key.split("/")):
        raise ValueError(f"not a store key: {key!r}")
    return key


def check_prefix(prefix: str) -> str:
    """Returns ``prefix``; raises ValueError unless keys can start with it."""
    folder, slash, start = prefix.rpartition("/")
    if slash:
        check_key(folder)
    if start and _PART.fullmatch(start) is None:
        raise ValueError(f"no store key starts with {prefix!r}")
    return prefix


def _harmless(part: str) -> bool:
    """No way up, and no name that a directory store needs for itself."""
    return bool(_PART.fullmatch(part)) and part not in (".", "..", LOCK) and not part.startswith(TEMPORARY)


@dataclass(frozen=True)
class StoreSettings:
    """What only some stores need; ``request_checksum`` is ``when_supported`` or ``when_required``.

    ``sse`` is ``AES256``, ``aws:kms`` or ``aws:kms:dsse``; a key alone means ``aws:kms``.
    """

    endpoint_url: str | None = None
    sse: str | None = None
    sse_kms_key_id: str | None = None
    expected_bucket_owner: str | None = None
    request_checksum: str = "when_supported"

"""The store as the holder of a run's lease uses it: a holder that was replaced changes nothing in it.

A machine that was cut off or suspended does not know that another one continues the run. Whatever it meant to delete
or overwrite next may be what the other one relies on.
"""

from __future__ import annotations

from pathlib import Path

from ...core.checkpoint_name import CheckpointName
from ...core.errors import Permanent, StoreError, Transient
from ...core.manifest import PARTS
from ...store import KnownParts, OnSent, Store
from ...store.wrapper import Wrapper
from .lease import Lease


class FencedStore(Wrapper):
    """Makes sure of the lease before each write. Raises Fenced, with nothing changed, where it is another machine's.

    Where that cannot be found out, a StoreError says so. Adding a pair needs no lease: no two pairs have one name, and
    what a replaced holder still stores is older than all that its successor writes.
    """

    def __init__(self, store: Store, lease: Lease) -> None:
        super().__init__(store)
        self._lease = lease

    def put(
        self,
        key: str,
        path: Path,
        crc32: int | None = None,
        progress: OnSent | None = None,
        known: KnownParts | None = None,
    ) -> None:
        if _is_of_a_pair(key):
            self._store.put(key, path, crc32, progress, known)
            return
        self._make_sure(key)

        def go_on(sent: int) -> None:
            """A machine that is suspended while it sends a file may wake up as one that was replaced."""
            if self._lease.expired:
                self._make_sure(key)
            if progress is not None:
                progress(sent)

        self._store.put(key, path, crc32, go_on, known)

    def create(self, key: str, data: bytes) -> str:
        if not _is_of_a_pair(key):
            self._make_sure(key)
        return self._store.create(key, data)

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        self._make_sure(key)
        return self._store.replace(key, data, if_match)

    def delete(self, key: str) -> None:
        self._make_sure(key)
        self._store.delete(key)

    def sweep(self, prefix: str) -> None:
        self._make_sure(prefix)
        self._store.sweep(prefix)

    def _make_sure(self, key: str) -> None:
        try:
            self._lease.make_sure()
        except StoreError as error:
            kind = Permanent if isinstance(error, Permanent) else Transient
            raise kind(f"{key} is left as it is, since the lease cannot be renewed: {error}") from error


def _is_of_a_pair(key: str) -> bool:
    stem, _, part = key.rpartition("/")[2].rpartition(".")
    return part in ("json", *PARTS) and CheckpointName.parse(stem) is not None

"""A store around another store: it passes every call on."""

from __future__ import annotations

from pathlib import Path

from .base import SMALL, Entry, KnownParts, OnSent, Store


class Wrapper:
    """Passes all calls on unchanged. A subclass overrides those that it is for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def uri(self) -> str:
        return self._store.uri

    @property
    def durable_spool(self) -> bool:
        return self._store.durable_spool

    @property
    def far(self) -> bool:
        return self._store.far

    def put(
        self,
        key: str,
        path: Path,
        crc32: int | None = None,
        progress: OnSent | None = None,
        known: KnownParts | None = None,
    ) -> None:
        self._store.put(key, path, crc32, progress, known)

    def create(self, key: str, data: bytes) -> str:
        return self._store.create(key, data)

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        return self._store.replace(key, data, if_match)

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        return self._store.get(key, most)

    def fetch(self, key: str, path: Path, most: int | None = None) -> None:
        self._store.fetch(key, path, most)

    def list(self, prefix: str, shallow: bool = False) -> list[Entry]:
        return self._store.list(prefix, shallow)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def sweep(self, prefix: str) -> None:
        self._store.sweep(prefix)

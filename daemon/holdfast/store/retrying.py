"""A store that retries, for commands that a person waits for. The daemon has a retry loop of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..core.errors import Transient
from ..core.policy import Backoff
from .base import SMALL, Entry, KnownParts, OnSent, Store
from .wrapper import Wrapper

T = TypeVar("T")
_TRIES = 4
_BACKOFF = Backoff(first=0.5, most=4.0)


class PatientStore(Wrapper):
    """Passes calls on to another store, and retries a few times after Transient errors.

    A ``create`` or ``replace`` whose answer was lost is retried too, and then raises Conflict.
    """

    def __init__(self, store: Store, pause: Callable[[float], None] = time.sleep) -> None:
        super().__init__(store)
        self._pause = pause

    def put(
        self,
        key: str,
        path: Path,
        crc32: int | None = None,
        progress: OnSent | None = None,
        known: KnownParts | None = None,
    ) -> None:
        self._again(lambda: self._store.put(key, path, crc32, progress, known))

    def create(self, key: str, data: bytes) -> str:
        return self._again(lambda: self._store.create(key, data))

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        return self._again(lambda: self._store.replace(key, data, if_match))

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        return self._again(lambda: self._store.get(key, most))

    def fetch(self, key: str, path: Path, most: int | None = None) -> None:
        self._again(lambda: self._store.fetch(key, path, most))

    def list(self, prefix: str, shallow: bool = False) -> list[Entry]:
        return self._again(lambda: self._store.list(prefix, shallow))

    def delete(self, key: str) -> None:
        self._again(lambda: self._store.delete(key))

    def sweep(self, prefix: str) -> None:
        self._again(lambda: self._store.sweep(prefix))

    def _again(self, call: Callable[[], T]) -> T:
        failures = 0
        while True:
            try:
                return call()
            except Transient:
                failures += 1
                if failures == _TRIES:
                    raise
            self._pause(_BACKOFF.delay(failures, random.random()))

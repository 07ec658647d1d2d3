"""Conditional writes on stores that do not support them: detected by trying, reported, and replaced as well as can be.

Some S3-compatible stores ignore If-None-Match or If-Match, some reject them, and one compares the tag only without its
quotes. There is no list of products: the first conditional write tries all three cases on an object of its own.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import Conflict, NotFound, Permanent, StoreError, TooLarge, Transient
from .base import Store
from .wrapper import Wrapper

PROBE = ".holdfast-probe-"
_MISSING = {
    (False, True): "does not support create-only writes (If-None-Match)",
    (True, False): "does not compare before it replaces (If-Match)",
    (False, False): "supports no conditional writes (If-None-Match, If-Match)",
}


@dataclass(frozen=True)
class Supported:
    """Which conditional writes work; ``quotes``: a tag is compared as the store itself writes it, in quotes."""

    create: bool
    replace: bool
    quotes: bool = True

    @property
    def missing(self) -> str:
        """What the store does not support, as the end of a sentence; empty if it supports both."""
        return _MISSING.get((self.create, self.replace), "")


class Conditional(Wrapper):
    """Passes conditional writes on where the store supports them; elsewhere it reads before and after it writes.

    ``say`` receives one line, once, about what is missing. After a write, ``wait`` waits ``moment`` seconds, so that
    another write that began at the same time has ended when it is read back.
    """

    def __init__(
        self, store: Store, say: Callable[[str], None], wait: Callable[[float], None] = time.sleep, moment: float = 1.0
    ) -> None:
        super().__init__(store)
        self._say = say
        self._wait = wait
        self._moment = moment
        self._lock = threading.Lock()
        self._supported: Supported | None = None

    def create(self, key: str, data: bytes) -> str:
        if self.supported().create:
            return self._store.create(key, data)
        if self._tag(key) is not None:
            raise Conflict(f"{key} exists already")
        return self._write(key, data)

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        supported = self.supported()
        if supported.replace:
            return self._store.replace(key, data, if_match if supported.quotes else if_match.strip('"'))
        if self._tag(key) != if_match:
            raise Conflict(f"{key} was changed meanwhile")
        return self._write(key, data)

    def supported(self) -> Supported:
        """What the store supports; tried at the first call. After a StoreError the next call tries again."""
        with self._lock:
            if self._supported is None:
                self._supported = probe(self._store)
                if missing := self._supported.missing:
                    self._say(
                        f"{self.uri} {missing}: two machines that start a run in the same moment may both train it. "
                        "holdfast looks before and after it writes, which leaves a small gap; a store with "
                        "conditional writes, such as Amazon S3, leaves none"
                    )
            return self._supported

    def _tag(self, key: str) -> str | None:
        try:
            return self._store.get(key)[1]
        except NotFound:
            return None
        except TooLarge as error:
            return error.tag

    def _write(self, key: str, data: bytes) -> str:
        """Overwrites, waits a moment, and checks that the object is still ours: the last writer wins."""
        _put(self._store, key, data)
        self._wait(self._moment)
        with contextlib.suppress(NotFound, TooLarge):
            there, tag = self._store.get(key)
            if there == data:
                return tag
        raise Conflict(f"{key} was written by another in the same moment")


def probe(store: Store, key: str = "") -> Supported:
    """Tries the conditions on an object of its own, which is deleted afterwards. Raises StoreError."""
    key = key or f"{PROBE}{secrets.token_hex(8)}"
    try:
        create = _supports_create(store, key)
        for quotes in (True, False):
            if _supports_replace(store, key, quotes):
                return Supported(create, replace=True, quotes=quotes)
        return Supported(create, replace=False)
    finally:
        with contextlib.suppress(StoreError):  # a small object with a telling name may stay behind
            store.delete(key)


def _supports_create(store: Store, key: str) -> bool:
    """Leaves an object behind. A store that refuses the condition itself still has to take a plain write."""
    try:
        store.create(key, b"first")
    except Permanent:
        _put(store, key, b"first")
        return False
    try:
        store.create(key, b"second")
    except Conflict:
        return True
    return False


def _supports_replace(store: Store, key: str, quotes: bool) -> bool:
    _put(store, key, b"third")
    tag = store.get(key)[1]
    spelt = tag if quotes else tag.strip('"')
    try:
        store.replace(key, b"fourth", spelt)
    except (Conflict, Permanent):
        return False
    try:
        store.replace(key, b"fifth", spelt)
    except Conflict:
        return True
    return False


def _put(store: Store, key: str, data: bytes) -> None:
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-"))
            (Path(folder) / "object").write_bytes(data)
        except OSError as error:
            raise Transient(f"{key}: {error}") from error
        store.put(key, Path(folder) / "object")

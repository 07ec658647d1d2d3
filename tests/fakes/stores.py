"""A store in memory, and a wrapper that makes any store fail as scripted."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from holdfast.core.errors import Conflict, Corrupted, NotFound, Permanent, StoreError, TooLarge, Transient
from holdfast.spool import write_whole
from holdfast.store import SMALL, Entry, KnownParts, OnSent, Store, check_key, check_prefix
from holdfast.store.streams import unreadable
from holdfast.store.wrapper import Wrapper


class MemoryStore:
    """Remembers every write, in order. As with S3, equal contents have equal tags."""

    uri = "memory:"
    far = False
    durable_spool = False

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.versions: dict[str, list[bytes]] = {}
        self.writes: list[str] = []
        self.reads: list[str] = []
        self.swept: list[str] = []
        self.written: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def put(
        self,
        key: str,
        path: Path,
        crc32: int | None = None,
        progress: OnSent | None = None,
        known: KnownParts | None = None,
    ) -> None:
        check_key(key)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise unreadable(path, error) from error
        if progress is not None:
            progress(len(data))
        if crc32 is not None and zlib.crc32(data) != crc32:
            raise Corrupted(f"{key}: not what was recorded")
        with self._lock:
            self._write(key, data)

    def create(self, key: str, data: bytes) -> str:
        check_key(key)
        with self._lock:
            if key in self.objects:
                raise Conflict(f"{key} exists already")
            return self._write(key, data)

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        check_key(key)
        with self._lock:
            if key not in self.objects or _tag(self.objects[key]) != if_match:
                raise Conflict(f"{key} was changed meanwhile")
            return self._write(key, data)

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        check_key(key)
        with self._lock:
            self.reads.append(key)
            if key not in self.objects:
                raise NotFound(f"{key} is not in the store")
            data, tag = self.objects[key], _tag(self.objects[key])
        if len(data) > most:
            raise TooLarge(f"{key} has {len(data)} bytes, more than {most}", tag)
        return data, tag

    def fetch(self, key: str, path: Path, most: int | None = None) -> None:
        data, _ = self.get(key, most=sys.maxsize if most is None else most)
        try:
            write_whole(path, data, durable=False)
        except OSError as error:
            raise Transient(f"{key}: {error}") from error

    def list(self, prefix: str, shallow: bool = False) -> list[Entry]:
        check_prefix(prefix)
        with self._lock:
            found = {key: len(data) for key, data in self.objects.items() if key.startswith(prefix)}
        if shallow:
            rest = {key: key[len(prefix) :].partition("/") for key in found}
            found = {prefix + head + slash: 0 if slash else found[key] for key, (head, slash, _) in rest.items()}
        return [Entry(key, size, self.written.get(key)) for key, size in sorted(found.items())]

    def delete(self, key: str) -> None:
        check_key(key)
        with self._lock:
            self.objects.pop(key, None)

    def sweep(self, prefix: str) -> None:
        """Nothing is ever unfinished in memory; that it was asked for is remembered."""
        self.swept.append(check_prefix(prefix))

    def _write(self, key: str, data: bytes) -> str:
        self.objects[key] = data
        self.written[key] = datetime.now(UTC)
        self.versions.setdefault(key, []).append(data)
        self.writes.append(key)
        return _tag(data)


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class LaxStore(MemoryStore):
    """Keeps its conditions as some S3-compatible stores do: a condition is ``kept``, ``ignored`` or ``refused``.

    ``bare`` compares the tag without the quotes that the store itself puts around it.
    """

    def __init__(self, create: str = "kept", replace: str = "kept") -> None:
        super().__init__()
        self._create = create
        self._replace = replace

    def create(self, key: str, data: bytes) -> str:
        return self._conditional(self._create, key, data, lambda: super(LaxStore, self).create(key, data))

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        if self._replace != "bare":
            if_match = if_match.removeprefix('"').removesuffix('"')
        return self._conditional(self._replace, key, data, lambda: super(LaxStore, self).replace(key, data, if_match))

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        try:
            data, tag = super().get(key, most)
        except TooLarge as error:
            raise TooLarge(str(error), f'"{error.tag}"') from None
        return data, f'"{tag}"'

    def _conditional(self, how: str, key: str, data: bytes, write: Callable[[], str]) -> str:
        check_key(key)
        if how == "refused":
            raise Permanent("501: a header you provided implies functionality that is not implemented")
        if how == "ignored":
            with self._lock:
                return f'"{self._write(key, data)}"'
        return f'"{write()}"'


@dataclass
class _Fault:
    operation: str
    error: StoreError
    after: bool
    suffix: str


class FlakyStore(Wrapper):
    """Passes on to another store, and raises what it was told to.

    ``fail`` scripts one failure, before the effect or after it (the answer was lost). While ``outage`` is set,
    everything fails with it. ``before`` is called ahead of each operation.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._faults: list[_Fault] = []
        self.outage: StoreError | None = None
        self.before: Callable[[str, str], None] = lambda operation, key: None

    def fail(
        self, operation: str, error: StoreError, *, after: bool = False, suffix: str = "", times: int = 1
    ) -> FlakyStore:
        self._faults += [_Fault(operation, error, after, suffix)] * times
        return self

    def put(
        self,
        key: str,
        path: Path,
        crc32: int | None = None,
        progress: OnSent | None = None,
        known: KnownParts | None = None,
    ) -> None:
        with self._scripted("put", key):
            self._store.put(key, path, crc32, progress, known)

    def create(self, key: str, data: bytes) -> str:
        with self._scripted("create", key):
            return self._store.create(key, data)

    def replace(self, key: str, data: bytes, if_match: str) -> str:
        with self._scripted("replace", key):
            return self._store.replace(key, data, if_match)

    def get(self, key: str, most: int = SMALL) -> tuple[bytes, str]:
        with self._scripted("get", key):
            return self._store.get(key, most)

    def fetch(self, key: str, path: Path, most: int | None = None) -> None:
        with self._scripted("fetch", key):
            self._store.fetch(key, path, most)

    def list(self, prefix: str, shallow: bool = False) -> list[Entry]:
        with self._scripted("list", prefix):
            return self._store.list(prefix, shallow)

    def delete(self, key: str) -> None:
        with self._scripted("delete", key):
            self._store.delete(key)

    def sweep(self, prefix: str) -> None:
        with self._scripted("sweep", prefix):
            self._store.sweep(prefix)

    @contextlib.contextmanager
    def _scripted(self, operation: str, key: str) -> Iterator[None]:
        self.before(operation, key)
        if self.outage is not None:
            raise self.outage
        fault = next((f for f in self._faults if f.operation == operation and key.endswith(f.suffix)), None)
        if fault is not None:
            self._faults.remove(fault)
            if not fault.after:
                raise fault.error
        yield
        if fault is not None:
            raise fault.error

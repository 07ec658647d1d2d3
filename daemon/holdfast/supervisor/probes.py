"""Gathers the facts that doctor.py judges: by trying, and by looking at the machine.

What is tried in the store is tried with objects of a random name, which are removed again.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

import psutil

from ..core.errors import Busy, Conflict, NotFound, StoreError
from ..spool import file_lock, replacing
from ..store import Store
from .doctor import Conditions, HostFacts, MetadataFacts, StoreFacts, WorkFacts
from .notices import SPOT, MetadataAbsent, MetadataClient, MetadataError

_ROUNDS = 5
_IN_CONTAINERS = ("docker", "kubepods", "containerd", "libpod", "lxc")


@runtime_checkable
class HasClock(Protocol):
    """A store whose server tells the time."""

    def server_time(self) -> datetime: ...


@runtime_checkable
class HasParts(Protocol):
    """A store that takes large files in parts."""

    def try_parts(self, key: str) -> None: ...


# --- the store -----------------------------------------------------------------------------------------------------


@dataclass
class StoreProbe:
    """Tries what a training needs of a store. ``name`` begins the keys of all that is written."""

    store: Store
    folder: Path
    name: str
    clock: Callable[[], float]
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    _tried: list[str] = field(default_factory=list)
    _denied: dict[str, str] = field(default_factory=dict)
    _written: list[str] = field(default_factory=list)

    def facts(self, size: int) -> StoreFacts:
        """Puts and gets ``size`` random bytes; 0 measures nothing but round trips."""
        try:
            self._try("list", lambda: self.store.list(self.name))
            put, get = self._bulk(size)
            away = {"list", "put"} <= self._denied.keys()  # every further attempt would take its time to fail too
            conditions = Conditions() if away else self._conditions()
            round_trip = None if away else self._round_trip()
            skew = None if away else self._skew()
            if isinstance(self.store, HasParts) and not away:
                parts = self.store
                self._try("parts", lambda: parts.try_parts(f"{self.name}.parts"))
        finally:
            left = self._clean()
        return StoreFacts(
            uri=self.store.uri,
            tried=tuple(self._tried),
            denied=dict(self._denied),
            left=left,
            conditions=conditions,
            round_trip=round_trip,
            put_rate=size / put if put and size else None,
            get_rate=size / get if get and size else None,
            skew=skew,
        )

    def _bulk(self, size: int) -> tuple[float | None, float | None]:
        key, source, target = f"{self.name}.bulk", self.folder / "source", self.folder / "target"
        source.write_bytes(os.urandom(size))
        self._written.append(key)
        put = self._try("put", lambda: self.store.put(key, source))
        get = None if put is None else self._try("get", lambda: self.store.fetch(key, target))
        if get is not None and target.read_bytes() != source.read_bytes():
            self._denied["get"] = "what came back is not what was put"
        return put, get

    def _conditions(self) -> Conditions:
        key = f"{self.name}.conditions"
        self._written.append(key)
        try:
            first = self.store.create(key, b"1")
            once = _refused(lambda: self.store.create(key, b"2"))
            if not once:
                _, first = self.store.get(key)
            current = not _refused(lambda: self.store.replace(key, b"3", first))
            stale = _refused(lambda: self.store.replace(key, b"4", first)) if current else None
        except StoreError as error:
            return Conditions() if "put" in self._denied else Conditions(error=str(error))
        return Conditions(creates_once=once, refuses_stale=stale, accepts_current=current)

    def _round_trip(self) -> float | None:
        times = []
        for _ in range(_ROUNDS):
            began = self.clock()
            try:
                self.store.get(f"{self.name}.conditions")
            except NotFound:
                pass
            except StoreError:
                return None
            times.append(self.clock() - began)
        return statistics.median(times)

    def _skew(self) -> float | None:
        if not isinstance(self.store, HasClock):
            return None
        try:
            before = self.wall()
            there = self.store.server_time()
            after = self.wall()
        except (StoreError, KeyError, ValueError):
            return None
        return (before + (after - before) / 2 - there).total_seconds()

    def _clean(self) -> tuple[str, ...]:
        """Removes all that was written. Deleting is tried only if there is something to delete."""
        keys = self._there()
        for key in keys:
            self._try("delete", lambda key=key: self.store.delete(key))  # type: ignore[misc]
        return tuple(self._there()) if keys else ()

    def _there(self) -> list[str]:
        """The probe's objects; where they cannot be listed, all that may be there."""
        if "list" not in self._denied:
            with contextlib.suppress(StoreError):
                return [entry.key for entry in self.store.list(self.name)]
        done = "put" in self._denied or ("delete" in self._tried and "delete" not in self._denied)
        return [] if done else self._written

    def _try(self, operation: str, call: Callable[[], object]) -> float | None:
        """Seconds that it took; None if it failed."""
        if operation not in self._tried:
            self._tried.append(operation)
        began = self.clock()
        try:
            call()
        except StoreError as error:
            self._denied[operation] = str(error)
            return None
        return max(self.clock() - began, 1e-6)


def _refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except Conflict:
        return True
    return False


# --- the machine ---------------------------------------------------------------------------------------------------


def work_facts(path: Path) -> WorkFacts:
    """Tries the work dir, or the nearest folder above it that exists."""
    nearest = path.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".holdfast-", dir=nearest) as folder:
            with replacing(Path(folder, "file"), durable=True) as temporary:
                temporary.write_bytes(b"probe")
            with file_lock(Path(folder, "lock")):
                pass
        return WorkFacts(str(path), free=shutil.disk_usage(nearest).free)
    except Busy:
        return WorkFacts(str(path), error="files cannot be locked there")
    except OSError as error:
        return WorkFacts(str(path), error=error.strerror or str(error))


def metadata_facts(client: MetadataClient | None) -> MetadataFacts:
    if client is None:
        return MetadataFacts("disabled")
    try:
        return MetadataFacts("answers", notice=(client.read(SPOT) or "")[:200])
    except MetadataAbsent as error:
        silent = isinstance(error.__context__, TimeoutError)
        return MetadataFacts("silent" if silent else "absent", str(error))
    except MetadataError as error:
        return MetadataFacts("error", str(error))


def host_facts(root: Path, environment: Mapping[str, str], pid: int) -> HostFacts:
    """``root`` is '/', or a likeness of it."""
    kubernetes = "KUBERNETES_SERVICE_HOST" in environment
    cgroup = _text(root / "proc/self/cgroup")
    marked = (root / ".dockerenv").exists() or (root / "run/.containerenv").exists() or "container" in environment
    return HostFacts(
        ec2=_text(root / "sys/class/dmi/id/sys_vendor").startswith("Amazon EC2")
        or _text(root / "sys/hypervisor/uuid").startswith("ec2"),
        container=marked or kubernetes or any(word in cgroup for word in _IN_CONTAINERS) or pid == 1,
        kubernetes=kubernetes,
        systemd="NOTIFY_SOCKET" in environment or "INVOCATION_ID" in environment,
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        memory=_memory(root / "sys/fs/cgroup"),
        shm=_size_of(root / "dev/shm"),
    )


def _memory(cgroup: Path) -> int:
    """What is available on the machine, or what is left below the container's limit if that is less."""
    available = psutil.virtual_memory().available
    limit, used = _text(cgroup / "memory.max"), _text(cgroup / "memory.current")
    if limit.isdigit() and used.isdigit():
        return min(available, max(0, int(limit) - int(used)))
    return available


def _size_of(path: Path) -> int | None:
    try:
        return shutil.disk_usage(path).total
    except OSError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""

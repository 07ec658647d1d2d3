"""Gathers the facts about a store by trying, with objects of a random name, which are removed again."""

from __future__ import annotations

import contextlib
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from ...core.errors import NotFound, Permanent, StoreError
from ...store import HasFolder, Store
from ...store.conditional_write_fallback import Supported, probe
from .facts import StoreFacts

_ROUNDS = 5


@runtime_checkable
class HasClock(Protocol):
    """A store whose server tells the time."""

    def server_time(self) -> datetime: ...


@runtime_checkable
class HasParts(Protocol):
    """A store that takes large files in parts."""

    def try_parts(self, key: str) -> None: ...


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
    _remedies: dict[str, None] = field(default_factory=dict)
    _written: list[str] = field(default_factory=list)

    def facts(self, size: int) -> StoreFacts:
        """Puts and gets ``size`` random bytes; 0 measures nothing but round trips."""
        missing: list[Path] = []
        if isinstance(self.store, HasFolder):
            with contextlib.suppress(StoreError):  # the attempts below meet with it too
                missing = self.store.missing()
        try:
            self._try("list", lambda: self.store.list(self.name))
            put, get = self._bulk(size)
            away = {"list", "put"} <= self._denied.keys()  # every further attempt would take its time to fail too
            kept, unkept = (None, "") if away else self._conditions()
            round_trip = None if away else self._round_trip()
            skew = None if away else self._skew()
            if isinstance(self.store, HasParts) and not away:
                parts = self.store
                self._try("parts", lambda: parts.try_parts(f"{self.name}.parts"))
        finally:
            left = self._clean()
            if isinstance(self.store, HasFolder):
                self.store.unmake(missing)
        return StoreFacts(
            uri=self.store.uri,
            tried=tuple(self._tried),
            denied=dict(self._denied),
            remedies=tuple(self._remedies),
            left=left,
            kept=kept,
            unkept=unkept,
            round_trip=round_trip,
            put_rate=size / put if put and size else None,
            get_rate=size / get if get and size else None,
            skew=skew,
            made=bool(missing),
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

    def _conditions(self) -> tuple[Supported | None, str]:
        """What is kept, or why it could not be tried; without the right to write there is nothing to try."""
        key = f"{self.name}.conditions"
        self._written.append(key)
        try:
            return probe(self.store, key), ""
        except StoreError as error:
            return None, "" if self._denied.keys() & {"put", "get"} else str(error)

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
            if isinstance(error, Permanent) and error.remedy:
                self._denied[operation] = error.refusal
                self._remedies[error.remedy] = None
            return None
        return max(self.clock() - began, 1e-6)

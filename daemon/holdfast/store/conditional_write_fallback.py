"""Conditional writes on stores that do not support them: detected by trying, reported, and replaced as well as can be.

Some S3-compatible stores ignore If-None-Match or If-Match, some reject them, and one compares the tag only without its
quotes. There is no list of products: the first conditional write tries all three cases on two objects of its own,
unless the caller knows from an earlier start what the store supports.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import Conflict, NotFound, Permanent, StoreError, TooLarge, Transient
from .at_once import at_once
from .base import HasEndpoint, Store
from .wrapper import Wrapper

PROBE = ".holdfast-probe-"
MEMORY = 7 * 86_400.0
"""Seconds. What answers at an address may be another product by then, or another version of it."""

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
    another write that began at the same time has ended when it is read back. ``wall`` is seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        say: Callable[[str], None],
        wait: Callable[[float], None] = time.sleep,
        moment: float = 1.0,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(store)
        self._say = say
        self._wait = wait
        self._moment = moment
        self._wall = wall
        self._tried_at = 0.0
        self._lock = threading.Lock()
        self._trying: Trial | None = None
        self._supported: Supported | None = None

    def create(self, key: str, data: bytes) -> str:
        exclusive = self.creates
        if exclusive is None:
            return self._create_while_trying(key, data)
        if exclusive:
            return self._store.create(key, data)
        self._check_missing(key)
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
                self._learn(self._trial().result(), self._wall())
            assert self._supported is not None
            return self._supported

    def recall(self, remembered: object) -> None:
        """Takes over what an earlier start learned, if it is about this store and this endpoint, and not older than
        MEMORY; then nothing is tried.

        ``remembered`` was in the store: it is read leniently.
        """
        found = _read_memory(remembered, self._place(), self._wall())
        with self._lock:
            if found is not None and self._supported is None and self._trying is None:
                self._learn(*found)

    def learned(self) -> dict[str, Any] | None:
        """For ``recall`` at a later start: plain values. None while nothing is known."""
        known = self._supported
        if known is None:
            return None
        values = {"create": known.create, "replace": known.replace, "quotes": known.quotes}
        return {"of": self._place(), "at": round(self._tried_at), **values}

    def _place(self) -> str:
        """A bucket may be copied to another product, with all that is in it."""
        endpoint = self._store.endpoint if isinstance(self._store, HasEndpoint) else ""
        return f"{self.uri} at {endpoint}"

    @property
    def creates(self) -> bool | None:
        """Do create-only writes work? None while that is unknown. Of a trial it is known before the rest."""
        known, trial = self._supported, self._trying
        if known is not None:
            return known.create
        tried = trial is not None and trial.create.done() and trial.create.exception() is None
        return trial.create.result() if trial is not None and tried else None

    def _trial(self) -> Trial:
        """One that failed is made anew."""
        if self._trying is None or self._trying.failed:
            self._trying = Trial(self._store)
        return self._trying

    def _learn(self, supported: Supported, tried_at: float) -> None:
        self._supported, self._tried_at = supported, tried_at
        if missing := supported.missing:
            self._say(
                f"{self.uri} {missing}: two machines that start a run in the same moment may both train it. "
                "holdfast looks before and after it writes, which leaves a small gap; a store with "
                "conditional writes, such as Amazon S3, leaves none"
            )

    def _create_while_trying(self, key: str, data: bytes) -> str:
        """Looks and writes while it is found out what the condition is worth: a start then waits for half as many
        answers. Where the condition is worth nothing, this is what ``create`` does there.
        """
        with self._lock:
            trial = self._trial()
        self._check_missing(key)
        try:
            tag = self._store.create(key, data)
        except Permanent:
            if trial.create.result():
                raise
            self.supported()  # says what is missing
            tag = self._write(key, data)
        else:
            if not trial.create.result():
                self.supported()
                tag = self._confirm(key, data)
        return tag

    def _check_missing(self, key: str) -> None:
        if self._tag(key) is not None:
            raise Conflict(f"{key} exists already")

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
        return self._confirm(key, data)

    def _confirm(self, key: str, data: bytes) -> str:
        self._wait(self._moment)
        with contextlib.suppress(NotFound, TooLarge):
            there, tag = self._store.get(key)
            if there == data:
                return tag
        raise Conflict(f"{key} was written by another in the same moment")


class Trial:
    """Finds out what the store supports, in threads of its own. ``create`` is known after two round trips."""

    def __init__(self, store: Store) -> None:
        self.create: Future[bool] = Future()
        self._whole: Future[Supported] = Future()
        try:
            threading.Thread(target=self._run, args=(store,), name="try-conditions", daemon=True).start()
        except RuntimeError:  # no further thread: the caller waits
            self._run(store)

    @property
    def failed(self) -> bool:
        return self._whole.done() and self._whole.exception() is not None

    def result(self) -> Supported:
        """Raises StoreError."""
        return self._whole.result()

    def _run(self, store: Store) -> None:
        try:
            found = probe(store, on_create=self.create.set_result)
        except BaseException as error:
            if not self.create.done():
                self.create.set_exception(error)
            self._whole.set_exception(error)
        else:
            self._whole.set_result(found)


def _read_memory(remembered: object, place: str, now: float) -> tuple[Supported, float] | None:
    """With the time at which it was tried, by the clock of the machine that did."""
    if not isinstance(remembered, dict) or remembered.get("of") != place:
        return None
    at, create, replace, quotes = (remembered.get(name) for name in ("at", "create", "replace", "quotes"))
    if type(at) is not int or not now - MEMORY < at < now + MEMORY:
        return None
    if isinstance(create, bool) and isinstance(replace, bool) and isinstance(quotes, bool):
        return Supported(create, replace, quotes), at
    return None


def probe(store: Store, key: str = "", on_create: Callable[[bool], object] = lambda supported: None) -> Supported:
    """Tries the conditions on two objects of its own, side by side, and deletes them afterwards. Raises StoreError.

    ``on_create`` hears, in another thread, as soon as it is known whether create-only writes work.
    """
    key = key or f"{PROBE}{secrets.token_hex(8)}"
    other = f"{key}-replaced"

    def try_create() -> bool:
        create = _supports_create(store, key)
        on_create(create)
        return create

    def try_replace() -> bool | None:
        """Whether a tag is compared with its quotes; None if it is not compared at all."""
        return next((quotes for quotes in (True, False) if _supports_replace(store, other, quotes)), None)

    try:
        create, quotes = at_once(store, (try_create, try_replace))
        return Supported(bool(create), replace=quotes is not None, quotes=quotes is not False)
    finally:
        at_once(store, (partial(_delete_quietly, store, one) for one in (key, other)))


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
    tag = _written(store, key)
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


def _written(store: Store, key: str) -> str:
    """The tag of an object that is written anew. Its condition does not matter, and its answer has the tag."""
    try:
        return store.create(key, b"third")
    except (Conflict, Permanent):
        _put(store, key, b"third")
        return store.get(key)[1]


def _delete_quietly(store: Store, key: str) -> None:
    with contextlib.suppress(StoreError):  # a small object with a telling name may stay behind
        store.delete(key)


def _put(store: Store, key: str, data: bytes) -> None:
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-"))
            (Path(folder) / "object").write_bytes(data)
        except OSError as error:
            raise Transient(f"{key}: {error}") from error
        store.put(key, Path(folder) / "object")

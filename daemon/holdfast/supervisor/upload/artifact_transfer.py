"""One artifact at a time, to the store or from it, and what the store is known to have."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from ...core.artifacts import (
    FOLDER,
    INDEX_FILE,
    MOST_FILES,
    MOST_INDEX_BYTES,
    Limits,
    Stored,
    from_key,
    is_storable,
    read_index,
    shown,
    to_key,
    write_index,
)
from ...core.errors import NotFound, TooLarge
from ...core.event_sink import EventSink
from ...spool import TEMPORARY, Spool, place, record_of
from ...store import Store
from .artifacts_folder import opened, seen_at
from .transfer import SHARE, GivenUp

INDEX = f"../{INDEX_FILE}"  # no artifact has such a path
_CHUNK = 1 << 20
_SPARE = 64 << 20
_TELLING = 1 << 20  # smaller files tell the store's latency, not its rate


class ArtifactTransfer:
    """``stored`` is what the store has; ``here``, what this machine sent, fetched or saw; ``until`` limits what begins.

    Once the command is ``running``, nothing that lies in its folder is touched. Before, what is newer here stays if
    this machine ``continues`` what it did itself. ``dirty`` says that the index is not up
    to date. Everything raises StoreError and OSError, and ``send`` GivenUp as soon as something is ``pressed`` for.
    """

    def __init__(
        self,
        store: Store,
        spool: Spool,
        limits: Limits,
        say: EventSink,
        pressed: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.root = spool.file(FOLDER)
        self.stored: dict[str, Stored] = {}
        self.here: set[str] = set()
        self.rests_until: dict[str, float] = {}
        self.until: float | None = None
        self.running = False
        self.continues = True
        self.dirty = False
        self.done: Counter[str] = Counter()
        self._store = store
        self._spool = spool
        self._limits = limits
        self._say = say
        self._pressed = pressed
        self._clock = clock
        self._said: set[str] = set()
        self._carried: tuple[int, float] = (0, 0.0)  # bytes and seconds, for the rate

    # --- to the store ----------------------------------------------------------------------------------------------

    def send(self, path: str) -> None:
        with opened(self.root / path) as file:
            if file is None:  # the next look sees why
                return
            if not self.in_time(file.seen.size):
                self.leave_out({path: "no time is left to store it"})
                return
            began = self._clock()
            try:
                digest = self._digest(file.path)
                self._store.put(self._key(path), file.path, progress=self._go_on)
            finally:
                self.rests_until[path] = self._clock() + SHARE * (self._clock() - began)
            self._count("stored", file.seen.size, began)
            whole = file.now() == file.seen
        self.stored[path] = Stored(file.seen.size, file.seen.mtime_ns, digest if whole else None, file.seen.inode)
        self._said.discard(path)
        self.dirty = True

    def _digest(self, path: Path) -> str:
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                self._go_on(0)
        return digest.hexdigest()

    def _go_on(self, sent: int) -> None:
        if self._pressed() or not self.in_time(0):
            raise GivenUp

    def remove(self, path: str) -> None:
        """From the store, unless it came back."""
        if seen_at(self.root / path) is None:
            self._store.delete(self._key(path))
            self.stored.pop(path, None)
            self.done["removed"] += 1
            self.dirty = True

    def send_index(self) -> None:
        copy = self._spool.file(f"{TEMPORARY}{INDEX_FILE}")
        try:
            copy.write_bytes(write_index(self.stored))
            copy.chmod(0o600)
            self._store.put(f"{self._spool.run}/{INDEX_FILE}", copy)
        finally:
            copy.unlink(missing_ok=True)
        self.dirty = False
        done, self.done = self.done, Counter()
        self._say("artifacts-stored", files=done["stored"], bytes=done["stored bytes"], removed=done["removed"])

    # --- from the store --------------------------------------------------------------------------------------------

    def learn(self) -> list[str]:
        """Learns what the store has; gives what may be fetched of it, the smallest first."""
        prefix = f"{self._spool.run}/{FOLDER}/"
        entries = self._store.list(prefix)
        index = self._index() if entries else {}
        room, left_out = self._limits.total, {}
        offered: list[str] = []
        for entry in sorted(entries, key=lambda entry: (entry.size, entry.key)):
            key = entry.key.removeprefix(prefix)
            try:
                path = from_key(key)
            except ValueError:
                left_out[key] = "the store has it under a name that no artifact has"
                continue
            if not is_storable(path):  # nor would the store take such a key
                left_out[path] = "its name is too long"
                continue
            known = index.get(path)
            # What is larger or smaller than the index says was stored after it.
            self.stored[path] = known if known and known.size == entry.size else Stored(entry.size, 0, None)
            room -= entry.size
            if room < 0 or len(offered) >= MOST_FILES:
                left_out[path] = "the store has more than --artifacts-limit lets in"
            else:
                offered.append(path)
        self.leave_out(left_out)
        return offered

    def _index(self) -> dict[str, Stored]:
        try:
            return read_index(self._store.get(f"{self._spool.run}/{INDEX_FILE}", MOST_INDEX_BYTES)[0])
        except NotFound:
            return {}
        except (ValueError, TooLarge) as error:
            self.leave_out({INDEX: f"it is no index: {error}"})
            return {}

    def fetch(self, path: str) -> None:
        one = self.stored[path]
        if not self._is_wanted(path, one):
            return
        if shutil.disk_usage(self._spool.path).free < one.size + _SPARE:
            self.leave_out({path: "there is no room for it on this machine"})
            return
        temporary, began = self._spool.file(f"{TEMPORARY}artifact"), self._clock()
        try:
            self._store.fetch(self._key(path), temporary, one.size)
            temporary.chmod(0o600)
            if one.sha256 is not None and record_of(temporary).sha256 != one.sha256:
                self._doubt(path, "it differs from its checksum: stored after the index was, or damaged")
            elif one.sha256 is None and one.mtime_ns:
                self._doubt(path, "it was being written when it was stored: its end may be missing")
            if one.mtime_ns:
                os.utime(temporary, ns=(one.mtime_ns, one.mtime_ns))
            place(self.root, path, temporary, replace=not self.running)
        finally:
            temporary.unlink(missing_ok=True)
        self.here.add(path)
        self._count("restored", one.size, began)

    def _is_wanted(self, path: str, one: Stored) -> bool:
        """What is here and newer is left alone, if it is the run's; once the command runs, all that is here."""
        here = seen_at(self.root / path)
        if here is None or isinstance(here, str):
            return here is None
        if self.running or one.holds(here):
            return False
        if here.mtime_ns > one.mtime_ns and not self.continues:
            self.leave_out({path: "another machine had the run since this one: its file is taken, not the one here"})
            return True
        return here.mtime_ns <= one.mtime_ns

    # --- both ways -------------------------------------------------------------------------------------------------

    def in_time(self, size: int) -> bool:
        """Can so many bytes be carried before ``until``, as far as is known?"""
        if self.until is None:
            return True
        carried, seconds = self._carried
        return self._clock() + (size * seconds / carried if carried else 0.0) < self.until

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Says of each path once that it is left out, and why."""
        by_reason: dict[str, list[str]] = {}
        for path in sorted(reasons.keys() - self._said):
            by_reason.setdefault(reasons[path], []).append(path)
        self._said.update(reasons)
        for reason, paths in by_reason.items():
            text = f"artifacts/: left out {shown(paths)}: {reason}"
            names = [ascii(path)[1:-1] for path in paths[:100]]
            self._say("artifacts-left-out", text, warning=True, count=len(paths), paths=names, reason=reason)

    def _doubt(self, path: str, what: str) -> None:
        self._say("artifact-doubtful", f"artifacts/: {shown([path])}: {what}", warning=True, path=ascii(path)[1:-1])

    def _count(self, what: str, size: int, began: float) -> None:
        seconds = self._clock() - began
        self.done[what] += 1
        self.done[f"{what} bytes"] += size
        if size >= _TELLING:
            self._carried = (self._carried[0] + size, self._carried[1] + seconds)

    def _key(self, path: str) -> str:
        return f"{self._spool.run}/{FOLDER}/{to_key(path)}"

"""Keeps the run's ``artifacts/`` folder in the store, and brings it to a new machine.

It has no thread and no retries of its own: it hands out small jobs, and whoever runs them (supervisor/upload.py) puts
every pair before the next one, and runs a job that raised StoreError again later. Data first, the index last, as with
pairs; but an artifact is never what a training goes on from, so one that cannot be stored is reported and left out.

A file that is being written waits until it is quiet, for one look; then it is stored as it is. A growing log may end in
the middle of a line for a while. What changed while it was sent is sent again, and its record says so until then.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Protocol

from ..core.artifacts import (
    FOLDER,
    INDEX_FILE,
    MOST_FILES,
    Limits,
    Seen,
    Stored,
    from_key,
    plan,
    read_index,
    shown,
    to_key,
    write_index,
)
from ..core.errors import NotFound, Permanent, StoreError
from ..spool import TEMPORARY, Spool, record_of
from ..store import Store
from .artifact_files import look, place, reading, seen_at

Job = Callable[[], None]
_INDEX = f"../{INDEX_FILE}"  # no artifact has such a path
_MOST_TRIES = 8  # about a minute and a half of the uploader's backoff
_MOST_FAILURES = 3
_SHARE = 20  # a file rests for so many times the time that sending it took: large growing ones must not keep us busy
_SPARE = 64 << 20
_TELLING = 1 << 20  # smaller files tell the store's latency, not its rate


class Say(Protocol):
    def __call__(self, kind: str, text: str = "", *, warning: bool = False, **facts: Any) -> None: ...


@dataclass
class _Job:
    path: str
    size: int
    run: Job


class Artifacts:
    """``restore`` first, in any thread; when it has returned, everything else from one thread."""

    def __init__(
        self,
        store: Store,
        spool: Spool,
        limits: Limits,
        say: Say,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._store = store
        self._spool = spool
        self._limits = limits
        self._say = say
        self._clock = clock
        self._wall_ns = wall_ns
        self._root = spool.file(FOLDER)
        self._stored: dict[str, Stored] = {}
        self._listed = not limits.total
        self._jobs: deque[_Job] = deque() if self._listed else deque([_Job(_INDEX, 0, self._list)])
        self._tries: Counter[str] = Counter()
        self._said: set[str] = set()
        self._seen: set[str] = set()
        self._missing: set[str] = set()
        self._later: frozenset[str] = frozenset()
        self._rests_until: dict[str, float] = {}
        self._look_at = clock()
        self._until: float | None = None
        self._concluding = self._ended = self._running = self._dirty = False
        self._done: Counter[str] = Counter()  # of this round
        self._carried: tuple[int, float] = (0, 0.0)  # bytes and seconds, for the rate

    def restore(self, cancelled: threading.Event) -> None:
        """Brings what the store has and this machine lacks, before the command starts, for ``limits.wait`` seconds.

        What does not make it comes later, among the jobs; then nothing that is here already is touched any more.
        """
        began, failures = self._clock(), 0
        self._until = began + self._limits.wait
        while self._jobs and self._in_time(self._jobs[0].size) and not cancelled.is_set():
            try:
                self._first()
            except StoreError as error:
                failures += 1
                if failures == _MOST_FAILURES:
                    self._say("store-away", f"artifacts/: {error}", warning=True)
                    break
                cancelled.wait(0.5 * failures)
        self._until, self._running = None, True
        files, size = self._done["restored"], self._done["restored bytes"]
        seconds = round(self._clock() - began, 3)
        if files:
            text = f"restored {files} artifacts ({size / 1e6:.1f} MB, {seconds:.2f} s)"
            self._say("artifacts-restored", text, files=files, bytes=size, seconds=seconds)
        if self._jobs:
            text = "the command does not wait for the rest of the artifacts; they are brought while it runs"
            self._say("artifacts-later", text, files=len(self._jobs))
        self._done.clear()

    def next_job(self) -> Job | None:
        """The next small thing to do, if something is due. It may raise StoreError: then run the next one later."""
        if not self._limits.total:
            return None
        if not self._jobs and self._dirty:
            self._jobs.append(_Job(_INDEX, 0, self._write_index))
        if self._jobs:
            return self._first
        return self._look if self.due_in() <= 0 else None

    def due_in(self) -> float:
        """Seconds until ``next_job`` has something to do."""
        if not self._limits.total:
            return float("inf")
        return 0.0 if self._jobs or self._dirty else max(0.0, self._look_at - self._clock())

    def conclude(self, ended: bool, until: float | None) -> None:
        """The command is gone: one last look, now, after which ``next_job`` has nothing more to give.

        ``ended`` says that it ended by itself, so that what it removed is meant to be gone. What cannot be sent before
        ``until``, by the clock, is left out. Further calls only move ``until``.
        """
        self._until = until
        if not self._concluding:
            self._concluding, self._ended = True, ended
            while self._listed and self._jobs:
                self._jobs.pop()
            self._look_at = self._clock()

    # --- to the store ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        now = self._clock()
        self._look_at = float("inf") if self._concluding else now + self._limits.interval
        self._tries.clear()
        tree = look(self._root)
        if tree is None:  # never made; or removed as a whole, or unmounted: nothing is concluded from that
            return
        wall = None if self._concluding else self._wall_ns()
        planned = plan(tree, self._stored, self._later, self._limits.total, wall)
        self._later = planned.later
        self._leave_out(planned.left_out)
        for path in planned.bring:
            seen = tree[path]
            if isinstance(seen, Seen) and (self._concluding or self._rests_until.get(path, now) <= now):
                self._jobs.append(_Job(path, seen.size, partial(self._send, path)))
        for path in self._vanished(tree):
            self._jobs.append(_Job(path, 0, partial(self._remove, path)))

    def _vanished(self, tree: Mapping[str, Seen | str]) -> set[str]:
        """Stored files that were here once and were missing in two looks: a script may remove one to write it anew.

        What this machine never had is another's, and stays.
        """
        before, self._missing = self._missing, set()
        for path in self._seen & self._stored.keys():
            folders = map(str, PurePosixPath(path).parents)
            if path not in tree and not any(isinstance(tree.get(folder), str) for folder in folders):
                self._missing.add(path)
        self._seen.update(path for path, what in tree.items() if isinstance(what, Seen))
        return self._missing if self._ended else self._missing & before

    def _send(self, path: str) -> None:
        with reading(self._root / path) as file:
            if file is None:  # the next look sees why
                return
            if not self._in_time(file.seen.size):
                self._leave_out({path: "no time is left to store it"})
                return
            began = self._clock()
            digest = record_of(file.path).sha256
            self._store.put(self._key(path), file.path)
            seconds = self._count("stored", file.seen.size, began)
            whole = file.now() == file.seen
        self._stored[path] = Stored(file.seen.size, file.seen.mtime_ns, digest if whole else None, file.seen.inode)
        self._rests_until[path] = self._clock() + _SHARE * seconds
        self._said.discard(path)
        self._dirty = True

    def _remove(self, path: str) -> None:
        if seen_at(self._root / path) is None:
            self._store.delete(self._key(path))
            self._stored.pop(path, None)
            self._done["removed"] += 1
            self._dirty = True

    def _write_index(self) -> None:
        copy = self._spool.file(f"{TEMPORARY}{INDEX_FILE}")
        try:
            copy.write_bytes(write_index(self._stored))
            copy.chmod(0o600)
            self._store.put(f"{self._spool.run}/{INDEX_FILE}", copy)
        finally:
            copy.unlink(missing_ok=True)
        self._dirty = False
        done, self._done = self._done, Counter()
        self._say("artifacts-stored", files=done["stored"], bytes=done["stored bytes"], removed=done["removed"])

    # --- from the store --------------------------------------------------------------------------------------------

    def _list(self) -> None:
        prefix = f"{self._spool.run}/{FOLDER}/"
        entries = self._store.list(prefix)
        index = self._index() if entries else {}
        self._listed = True
        room, left_out = self._limits.total, {}
        for number, entry in enumerate(sorted(entries, key=lambda entry: (entry.size, entry.key))):
            key = entry.key.removeprefix(prefix)
            try:
                path = from_key(key)
            except ValueError:
                left_out[key] = "the store has it under a name that no artifact has"
                continue
            known = index.get(path)
            # What is larger or smaller than the index says was stored after it.
            one = known if known is not None and known.size == entry.size else Stored(entry.size, 0, None)
            self._stored[path] = one
            room -= entry.size
            if room < 0 or number >= MOST_FILES:
                left_out[path] = "the store has more than --artifacts-limit lets in"
            elif not self._concluding:
                self._jobs.append(_Job(path, entry.size, partial(self._fetch, path, one)))
        self._leave_out(left_out)

    def _index(self) -> dict[str, Stored]:
        try:
            return read_index(self._store.get(f"{self._spool.run}/{INDEX_FILE}")[0])
        except NotFound:
            return {}
        except ValueError as error:
            self._leave_out({_INDEX: f"it is no index: {error}"})
            return {}

    def _fetch(self, path: str, one: Stored) -> None:
        if not self._is_wanted(path, one):
            return
        if shutil.disk_usage(self._spool.path).free < one.size + _SPARE:
            self._leave_out({path: "there is no room for it on this machine"})
            return
        temporary, began = self._spool.file(f"{TEMPORARY}artifact"), self._clock()
        try:
            self._store.fetch(self._key(path), temporary)
            temporary.chmod(0o600)
            if one.sha256 is not None and record_of(temporary).sha256 != one.sha256:
                self._warn_of(path, "it differs from its checksum: stored after the index was, or damaged")
            elif one.sha256 is None and one.mtime_ns:
                self._warn_of(path, "it was being written when it was stored: its end may be missing")
            if one.mtime_ns:
                os.utime(temporary, ns=(one.mtime_ns, one.mtime_ns))
            place(self._root, path, temporary, replace=not self._running)
        finally:
            temporary.unlink(missing_ok=True)
        self._seen.add(path)
        self._count("restored", one.size, began)

    def _is_wanted(self, path: str, one: Stored) -> bool:
        """What is here and newer is left alone; once the command runs, all that is here."""
        here = seen_at(self._root / path)
        if not isinstance(here, Seen):
            return here is None
        return not self._running and here.mtime_ns <= one.mtime_ns and not one.holds(here)

    # --- both ways -------------------------------------------------------------------------------------------------

    def _first(self) -> None:
        job = self._jobs.popleft()
        try:
            job.run()
        except (Permanent, NotFound, OSError) as error:
            self._give_up(job, str(error))
        except StoreError as error:
            self._tries[job.path] += 1
            if self._tries[job.path] < _MOST_TRIES or not self._listed:
                self._jobs.append(job)
                raise
            self._give_up(job, str(error))

    def _give_up(self, job: _Job, error: str) -> None:
        """Until the next look: an artifact must not hold up the others, nor the end of the run."""
        if job.path == _INDEX:
            self._dirty, self._listed = False, True
        self._leave_out({job.path: error})

    def _key(self, path: str) -> str:
        return f"{self._spool.run}/{FOLDER}/{to_key(path)}"

    def _in_time(self, size: int) -> bool:
        if self._until is None:
            return True
        carried, seconds = self._carried
        return self._clock() + (size * seconds / carried if carried else 0.0) < self._until

    def _count(self, what: str, size: int, began: float) -> float:
        seconds = self._clock() - began
        self._done[what] += 1
        self._done[f"{what} bytes"] += size
        if size >= _TELLING:
            self._carried = (self._carried[0] + size, self._carried[1] + seconds)
        return seconds

    def _warn_of(self, path: str, what: str) -> None:
        self._say("artifact-doubtful", f"artifacts/: {shown([path])}: {what}", warning=True, path=ascii(path)[1:-1])

    def _leave_out(self, reasons: Mapping[str, str]) -> None:
        """Says of each path once that it is left out, and why."""
        by_reason: dict[str, list[str]] = {}
        for path in sorted(reasons.keys() - self._said):
            by_reason.setdefault(reasons[path], []).append(path)
        self._said.update(reasons)
        for reason, paths in by_reason.items():
            text = f"artifacts/: left out {shown(paths)}: {reason}"
            names = [ascii(path)[1:-1] for path in paths[:100]]
            self._say("artifacts-left-out", text, warning=True, count=len(paths), paths=names, reason=reason)

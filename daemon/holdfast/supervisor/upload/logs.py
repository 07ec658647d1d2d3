"""The files that grow during a run, uploaded now and then.

S3 cannot append, so each incarnation has objects of its own: ``log-i2.txt``, ``events-i2.jsonl``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from ...spool import LOG_FILE, TEMPORARY, Spool
from ...store import OnSent

_CHUNK = 1 << 20


class GrowingLog:
    """What a file holds from ``start`` on, under a ``key`` of its own, and how much of it the store has."""

    def __init__(self, spool: Spool, name: str, stored_as: str, start: int = 0) -> None:
        self.key = f"{spool.run}/{stored_as}"
        self._path = spool.file(name)
        self._copy = spool.file(f"{TEMPORARY}{stored_as}")
        self._start = self._brought = start

    def has_grown(self) -> bool:
        return _size(self._path) > self._brought

    def bring(self, put: Callable[[Path], None], go_on: OnSent) -> None:
        """Has a copy ``put`` into the store, as the file may grow while it is being sent.

        What either raises ends it; ``go_on`` is called again and again while the copy is made.
        """
        try:
            end = self._make_copy(go_on)
            if end is not None:
                put(self._copy)
                self._brought = end
        finally:
            with contextlib.suppress(OSError):
                self._copy.unlink()

    def _make_copy(self, go_on: OnSent) -> int | None:
        """Where in the file the copy ends; None if there is no room for one: logs must not hold up what matters."""
        with contextlib.suppress(OSError), self._path.open("rb") as source, self._copy.open("wb") as target:
            self._copy.chmod(0o600)
            source.seek(self._start)
            while chunk := source.read(_CHUNK):
                target.write(chunk)
                go_on(0)
            return source.tell()
        return None


def growing_logs(spool: Spool, incarnation: int) -> tuple[GrowingLog, ...]:
    """This incarnation's: the run's folder may hold what earlier ones on this machine wrote. Events of this one's start
    are there already."""
    return (
        GrowingLog(spool, LOG_FILE, f"log-i{incarnation}.txt", _size(spool.file(LOG_FILE))),
        GrowingLog(spool, "events.jsonl", f"events-i{incarnation}.jsonl"),
    )


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0

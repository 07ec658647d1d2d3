"""What grows while a run goes on, brought to the store now and then.

S3 cannot append, so each incarnation has objects of its own: ``log-i2.txt``, ``events-i2.jsonl``.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from ..spool import TEMPORARY, Spool


class GrowingLogs:
    """Knows where this incarnation's part of each file begins, and what of it the store has."""

    def __init__(self, spool: Spool, incarnation: int) -> None:
        self._spool = spool
        self._names = {"log.txt": f"log-i{incarnation}.txt", "events.jsonl": f"events-i{incarnation}.jsonl"}
        # The run's folder may hold what earlier incarnations on this machine wrote; events of this one's start too.
        self._start = {"log.txt": self._size("log.txt"), "events.jsonl": 0}
        self._brought: dict[str, int] = {}

    def changed(self) -> list[tuple[str, Path]]:
        """Keys and files to store: copies, as the originals may grow while they are being sent."""
        found = []
        for name in self._names:
            if self._size(name) > self._brought.get(name, self._start[name]):
                with contextlib.suppress(OSError):  # no room for the copy: logs must not hold up what matters
                    found.append((f"{self._spool.run}/{self._names[name]}", self._copy(name)))
        return found

    def _size(self, name: str) -> int:
        path = self._spool.file(name)
        return path.stat().st_size if path.exists() else 0

    def _copy(self, name: str) -> Path:
        copy = self._spool.file(f"{TEMPORARY}{self._names[name]}")
        with self._spool.file(name).open("rb") as source, copy.open("wb") as target:
            source.seek(self._start[name])
            shutil.copyfileobj(source, target)
        copy.chmod(0o600)
        self._brought[name] = self._start[name] + copy.stat().st_size
        return copy

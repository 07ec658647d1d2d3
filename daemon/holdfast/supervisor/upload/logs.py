"""The files that grow during a run, uploaded now and then.

S3 cannot append, so each incarnation has objects of its own: ``log-i2.txt``, ``events-i2.jsonl``. What a killed one had
no time to store is stored by the next one here, under the killed one's name.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core.history.pieces import pieces
from ...spool import LOG_FILE, TEMPORARY, Spool
from ...store import OnSent

EVENTS_FILE = "events.jsonl"
_CHUNK = 1 << 20


class GrowingLog:
    """What a file holds from ``start`` on, under a ``key`` of its own, and how much of it the store has.

    It grows no further than to ``most``.
    """

    def __init__(self, spool: Spool, name: str, stored_as: str, start: int = 0, most: float = math.inf) -> None:
        self.key = f"{spool.run}/{stored_as}"
        self._path = spool.file(name)
        self._copy = spool.file(f"{TEMPORARY}{stored_as}")
        self._start = self._brought = start
        self._most = most

    def has_grown(self) -> bool:
        return min(size_of(self._path), self._most) > self._brought

    def bring(self, put: Callable[[Path], None], go_on: OnSent) -> bool:
        """Has a copy ``put`` into the store, as the file may grow while it is being sent. False if none can be made.

        What either raises ends it; ``go_on`` is called again and again while the copy is made.
        """
        try:
            end = self._make_copy(go_on)
            if end is not None:
                put(self._copy)
                self._brought = end
            return end is not None
        finally:
            with contextlib.suppress(OSError):
                self._copy.unlink()

    def _make_copy(self, go_on: OnSent) -> int | None:
        """Where in the file the copy ends; None if there is no room for one: logs must not hold up what matters."""
        with contextlib.suppress(OSError), self._path.open("rb") as source, self._copy.open("wb") as target:
            self._copy.chmod(0o600)
            source.seek(self._start)
            while chunk := source.read(int(min(_CHUNK, self._most - source.tell()))):
                target.write(chunk)
                go_on(0)
            return source.tell()
        return None


def growing_logs(spool: Spool, incarnation: int) -> tuple[GrowingLog, ...]:
    """This incarnation's two, and then those of killed ones: the run's folder may hold what earlier ones on this
    machine wrote. Events of this one's start are there already, and no output of its command is."""
    events, output, start = [], [], _stored_events(spool.file(EVENTS_FILE))
    killed, log = list(_killed(spool.file(EVENTS_FILE), start, incarnation)), size_of(spool.file(LOG_FILE))
    for one in killed:
        events.append(GrowingLog(spool, EVENTS_FILE, f"events-i{one.incarnation}.jsonl", start, one.events_end))
        start = one.events_end
    end = log
    for one in reversed(killed):
        if one.log_start is not None:
            output.append(GrowingLog(spool, LOG_FILE, f"log-i{one.incarnation}.txt", one.log_start, end))
            end = one.log_start
    return (
        GrowingLog(spool, LOG_FILE, f"log-i{incarnation}.txt", log),
        GrowingLog(spool, EVENTS_FILE, f"events-i{incarnation}.jsonl", start),
        *events,
        *output,
    )


@dataclass(frozen=True)
class _Killed:
    """A start that was killed: where its events end, and where its command's output begins if it had any."""

    incarnation: int
    events_end: int
    log_start: int | None


def _killed(path: Path, at: int, incarnation: int) -> Iterator[_Killed]:
    """The starts before this one whose events follow. Those of a start without the lease are in the next one's file."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(at)
        for piece in pieces(file):
            at += sum(len(one.line) for one in piece.lines)
            if piece.incarnation is not None and piece.incarnation < incarnation:
                machine = next((one.event for one in piece.lines if one.is_("machine")), None)
                yield _Killed(piece.incarnation, at, None if machine is None else machine.count("log"))


def _stored_events(path: Path) -> int:
    """Where the events end that earlier starts stored: a start that had the lease and came to its exit.

    One that was killed may have had no time for its last events, and one without the lease stores nothing itself.
    """
    end, leased = 0, False
    with contextlib.suppress(OSError), path.open("rb") as file:
        at = 0
        for line in file:
            at += len(line)
            leased |= b'"event": "lease"' in line
            if leased and b'"event": "exit"' in line:
                end, leased = at, False
    return end


def size_of(path: Path) -> int:
    """In bytes; 0 for what is not there."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0

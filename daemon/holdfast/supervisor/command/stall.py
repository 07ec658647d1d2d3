"""Does the command hang? What a tree of processes uses, and the decision.

It hangs when it did no batch for ``timeout`` seconds, and in all that time next to nothing else either: no CPU, no
bytes. So compiling, tracing, validation and the loading of data are no hangs, however long they take. Batches are
counted by the training itself (spool.Board), not read from what it prints.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psutil

# A Keras fit that hangs in a lock uses no CPU at all (0.00 s in a minute, with 14 threads), while whatever watches it
# from a thread (a logger, a sampler of system figures) uses some tenths of a percent. Tracing, compiling, decoding and
# unpacking use whole cores.
CPU_SHARE = 0.01  # of one core
# A download or a read that takes next to no CPU: the slowest that is worth waiting for. Samplers and progress bars,
# which go on beside a hang, move a few kB a second at most.
BYTES_PER_SECOND = 10_000
# The supervisor's loop turns every second. Where it did not, the machine stood still, and the command with it: a
# suspension, a frozen container, a moved virtual machine.
LONGEST_STEP = 5.0
_LOOKS = 20
_LONGEST_PAUSE = 10.0
_MOST_DESCRIBED = 50
_IDLE_LOOK = 3.0


@dataclass(frozen=True)
class Vitals:
    """What a tree of processes has used by now: seconds of ``cpu``; bytes read and written, and held in memory."""

    cpu: float = 0.0
    moved: int = 0
    held: int = 0


class Stall:
    """Watches one start of the command, and is asked every second or so. ``timeout`` is in seconds.

    Windows follow one another: each ends with a sign of life, or with ``timeout`` seconds without one.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._pause = min(_LONGEST_PAUSE, timeout / _LOOKS)
        self._executed = -1
        self._looked = float("-inf")
        self._due = float("-inf")
        self._began: tuple[float, Vitals] | None = None
        self._last = Vitals()
        self._cpu = 0.0
        self._moved = 0

    def look(self, executed: int, now: float, measure: Callable[[], Vitals]) -> float | None:
        """The seconds without a sign of life when they became too many, else None; once for each window.

        ``executed`` counts batches. ``measure`` is called now and then, and only while no batch comes.
        """
        stood_still = now - self._looked > LONGEST_STEP
        self._looked = now
        if executed != self._executed or stood_still:
            self._executed = executed
            self._begin_anew(now)
        elif now >= self._due:
            self._due = now + self._pause
            return self._judge(now, measure())
        return None

    def _begin_anew(self, now: float) -> None:
        """The next window begins with the next measurement: a training that does batches is not measured."""
        self._began = None
        self._due = now + self._pause

    def _judge(self, now: float, vitals: Vitals) -> float | None:
        if self._began is None:
            self._began, self._last, self._cpu, self._moved = (now, vitals), vitals, 0.0, 0
            return None
        began, first = self._began
        self._cpu += max(0.0, vitals.cpu - self._last.cpu)  # what a process used may go with it
        self._moved += max(0, vitals.moved - self._last.moved)
        self._last = vitals
        if self._cpu >= CPU_SHARE * self._timeout or self._moved >= BYTES_PER_SECOND * self._timeout:
            self._begin_anew(now)
            return None
        if now - began < self._timeout:
            return None
        self._begin_anew(now)
        # What a socket brings into memory is counted nowhere, but for the memory. Only here, at the end: processes that
        # come and go would look like it.
        grown = vitals.held - first.held >= BYTES_PER_SECOND * self._timeout
        return None if grown else now - began


class IdleTime:
    """For how long one start of the command has been idle. Asked every second or so; measures only between batches.

    Idle is what a stall is: next to no CPU, and next to no bytes.
    """

    def __init__(self) -> None:
        self._executed = -1
        self._since = self._looked = 0.0
        self._last: Vitals | None = None

    def look(self, executed: int, now: float, measure: Callable[[], Vitals]) -> float:
        if executed != self._executed:
            self._executed, self._since, self._looked, self._last = executed, now, now, None
        elif now - self._looked >= _IDLE_LOOK:
            passed, self._looked = now - self._looked, now
            last, self._last = self._last, measure()
            if last is None or _works(last, self._last, passed):
                self._since = now
        return now - self._since


def _works(before: Vitals, after: Vitals, seconds: float) -> bool:
    return after.cpu - before.cpu >= CPU_SHARE * seconds or after.moved - before.moved >= BYTES_PER_SECOND * seconds


def describe(processes: Iterable[psutil.Process]) -> list[dict[str, Any]]:
    """What is seen of a tree from outside: of each process its pid, name, status and number of threads."""
    found: list[dict[str, Any]] = []
    for process in itertools.islice(processes, _MOST_DESCRIBED):
        with contextlib.suppress(psutil.Error), process.oneshot():
            facts = {"name": process.name(), "status": process.status(), "threads": process.num_threads()}
            found.append({"pid": process.pid, **facts})
    return found


def measure(processes: Iterable[psutil.Process]) -> Vitals:
    """The sum over all of them, and over their children that ended. What may not be read counts as nothing."""
    cpu, moved, held = 0.0, 0, 0
    for process in processes:
        with contextlib.suppress(psutil.Error), process.oneshot():
            times = process.cpu_times()
            cpu += times.user + times.system + times.children_user + times.children_system
            held += process.memory_info().rss
            io = process.io_counters()
            moved += io.read_chars + io.write_chars + io.read_bytes  # the last: what a mapped file had to be read for
    return Vitals(cpu, moved, held)

"""Large objects in parts: how they are divided, and a few threads that work on them."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .streams import Meter

PART = 16 << 20
MOST_PARTS = 10_000  # S3's own limit
THREADS = 4
_MIB = 1 << 20


@dataclass(frozen=True)
class ObjectPart:
    """``size`` bytes from ``first`` on; ``number`` counts from 1."""

    number: int
    first: int
    size: int

    @property
    def last(self) -> int:
        return self.first + self.size - 1


def parts_of(size: int) -> list[ObjectPart]:
    """Parts of PART bytes; large objects have larger ones, 8 or more a thread, as a request costs 2 ms of CPU."""
    return grid(size, max(PART, min(_whole_mib(size, 8 * THREADS), 4 * PART), _whole_mib(size, MOST_PARTS)))


def grid(size: int, length: int) -> list[ObjectPart]:
    """Parts of one length, but for the last."""
    return [ObjectPart(at // length + 1, at, min(length, size - at)) for at in range(0, size, length)]


def _whole_mib(size: int, parts: int) -> int:
    return -(-size // parts // _MIB) * _MIB


def work_on(parts: Iterable[ObjectPart], work: Callable[[ObjectPart], None], meter: Meter) -> None:
    """Calls ``work`` for each part, from this thread and others, THREADS at most.

    The first error ends all of it, and is raised.
    """
    coming = iter(parts)
    first = list(itertools.islice(coming, THREADS))
    left = itertools.chain(first, coming)
    lock = threading.Lock()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            while not meter.ended:
                with lock:
                    part = next(left, None)
                if part is None:
                    return
                work(part)
        except BaseException as error:
            errors.append(error)
            meter.end()

    helpers = [threading.Thread(target=run, name="part", daemon=True) for _ in first[1:]]
    with contextlib.suppress(RuntimeError):  # a container may allow no more threads: this one does the work as well
        for helper in helpers:
            helper.start()
    run()
    for helper in helpers:
        if helper.ident is not None:
            helper.join()
    if errors:
        raise errors[0]

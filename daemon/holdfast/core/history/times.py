"""What the time of a run went into, over all its starts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from .spans import KINDS, Span, spans
from .starts import Start
from .work import Life, marked

_COUNT = ("productive", "validation")
_LEAST = 0.001  # seconds, as they are rounded


def lanes(starts: Sequence[Start], all_lives: Sequence[Life]) -> list[list[Span]]:
    """The spans of each start; ``all_lives`` are those of all starts."""
    return [
        marked(spans(start), [life for life in all_lives if life.start == number])
        for number, start in enumerate(starts)
    ]


def gaps(starts: Sequence[Start]) -> list[Span]:
    """The times when no start was at work."""
    found, until = [], None
    for start in starts:
        if until is not None and start.began > until:
            found.append(Span("gap", until, start.began))
        until = max(until or 0.0, start.ended)
    return found


def seconds_of(found: Iterable[Span]) -> dict[str, float]:
    """By kind, in the order of KINDS; what took no time is left out."""
    seconds = dict.fromkeys(KINDS, 0.0)
    for span in found:
        seconds[span.kind] += span.seconds
    return {kind: round(value, 3) for kind, value in seconds.items() if value > 0}


def run_seconds(starts: Sequence[Start], all_lives: Sequence[Life]) -> dict[str, float]:
    return seconds_of([*itertools.chain.from_iterable(lanes(starts, all_lives)), *gaps(starts)])


def counted(seconds: Mapping[str, float]) -> float:
    """The seconds of training that counts, and of its validation."""
    return sum(seconds.get(kind, 0.0) for kind in _COUNT)


def runtime_goodput(seconds: Mapping[str, float], wall: float) -> float | None:
    """The share of what counts in the time when a start was at work. It counts once where two were, so that this is no
    less than the overall goodput: a replacement waits while the machine before it trains. None where there is none.
    """
    return _share(counted(seconds), wall - seconds.get("gap", 0.0))


def overall_goodput(seconds: Mapping[str, float], wall: float) -> float | None:
    """The share of what counts in the ``wall`` seconds since the run began."""
    return None if runtime_goodput(seconds, wall) is None else _share(counted(seconds), wall)


def _share(part: float, whole: float) -> float | None:
    # Clocks of two machines may disagree by more than a gap.
    return min(1.0, part / whole) if whole > _LEAST else None

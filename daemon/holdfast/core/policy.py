"""Policies: small frozen values over facts; the present time and chance are passed in."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from .errors import SettingsError
from .manifest import CheckpointName


@dataclass(frozen=True)
class Backoff:
    """Exponential, with jitter: a fleet that failed together must not return together.

    Source: 'Exponential Backoff and Jitter', AWS Architecture Blog, 2015 ("equal jitter").
    """

    first: float = 1.0
    factor: float = 2.0
    most: float = 60.0

    def delay(self, failures: int, chance: float) -> float:
        """Seconds to wait after ``failures`` (1 or more) in a row; ``chance`` is uniform in [0, 1)."""
        whole = min(self.most, self.first * self.factor ** min(failures - 1, 32))
        return whole * (0.5 + 0.5 * chance)


@dataclass(frozen=True)
class Cadence:
    """When a training stores a pair by itself: at each epoch's end, and every so many batches or seconds."""

    batches: int | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, every: str | int | timedelta) -> Cadence:
        """Raises SettingsError unless ``every`` is ``"epoch"``, a number of batches or a timedelta."""
        if every == "epoch":
            return cls()
        if isinstance(every, timedelta) and every > timedelta(0):
            return cls(seconds=every.total_seconds())
        if isinstance(every, int) and not isinstance(every, bool) and every > 0:
            return cls(batches=every)
        raise SettingsError(f"every={every!r}: give 'epoch', a positive number of batches or a positive timedelta")

    def due(self, batches: int, seconds: float) -> bool:
        """Is an interval over, so many batches and seconds after the last pair?"""
        if self.batches is not None:
            return batches >= self.batches
        return self.seconds is not None and seconds >= self.seconds


@dataclass(frozen=True)
class Retention:
    """Which pairs stay: the newest ``last`` of them, and whatever is still owed to the store."""

    last: int

    def expendable(self, pairs: Iterable[CheckpointName], owed: Collection[CheckpointName]) -> list[CheckpointName]:
        """The pairs that may go, oldest first."""
        newest_first = sorted(pairs, key=lambda name: name.order, reverse=True)
        return [name for name in reversed(newest_first[self.last :]) if name not in owed]


def next_upload(owed: Iterable[CheckpointName]) -> CheckpointName | None:
    """Newest first: should there be time for one pair only, it must be that one."""
    return max(owed, key=lambda name: name.order, default=None)


def ask_time(window: float) -> float:
    """Seconds to wait for a child that was asked to stop, of ``window`` in all: the rest is for the upload."""
    return max(1.0, window * 0.6)

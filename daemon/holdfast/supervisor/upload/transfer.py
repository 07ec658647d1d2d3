"""One upload under way: what of it is sent, how fast, and how it is given up."""

from __future__ import annotations

from collections.abc import Callable

from ...core.policy import Owed

SHARE = 20
"""What may grow rests for so many times the time that sending it took: sending it whole again must not keep us busy."""

RELEASE_TIME = 3.0
"""Seconds before a deadline that belong to the lease."""

_SETTLED = 1.0  # seconds after which an upload's own pace says more than earlier ones


class GivenUp(Exception):
    """An upload that was abandoned on purpose."""


class PairTransfer:
    """``progress`` is what a store calls with bytes that it has got, from whichever thread, and ``copy`` with those of
    them that it copied by itself: they say nothing of how fast the others are sent.
    """

    def __init__(self, owed: Owed, clock: Callable[[], float]) -> None:
        self.owed = owed
        self._clock = clock
        self._began = clock()
        self._done = 0
        self._copied: list[int] = []
        self._given_up = False

    @property
    def rest(self) -> int:
        return max(0, self.owed.size - self._done)

    @property
    def copied(self) -> int:
        return sum(self._copied)

    @property
    def seconds(self) -> float:
        return self._clock() - self._began

    @property
    def pace(self) -> float | None:
        """Bytes a second that were sent. None where more was copied: that took most of the time, then."""
        sent = self._done - self.copied
        return sent / max(self.seconds, 1e-3) if sent and sent >= self.copied else None

    def rate(self, before: float | None) -> float | None:
        """Bytes a second: its own where it has run for a while, else what was measured ``before``."""
        return (self.pace if self.seconds > _SETTLED else None) or before

    def progress(self, count: int) -> None:
        """Raises GivenUp to end the upload."""
        self._done += count
        if self._given_up:
            raise GivenUp

    def copy(self, count: int) -> None:
        self._copied.append(count)

    def give_up(self) -> None:
        self._given_up = True


class Rate:
    """Bytes a second of whole uploads, the latest counting most; None before the first."""

    def __init__(self) -> None:
        self.value: float | None = None

    def learn(self, seen: float | None) -> None:
        """None says nothing."""
        if seen is not None:
            self.value = seen if self.value is None else (self.value + seen) / 2

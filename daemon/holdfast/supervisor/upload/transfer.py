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
    """``progress`` is what a store calls with bytes sent, from whichever thread."""

    def __init__(self, owed: Owed, clock: Callable[[], float]) -> None:
        self.owed = owed
        self._clock = clock
        self._began = clock()
        self._sent = 0
        self._given_up = False

    @property
    def rest(self) -> int:
        return max(0, self.owed.size - self._sent)

    @property
    def seconds(self) -> float:
        return self._clock() - self._began

    def rate(self, before: float | None) -> float | None:
        """Bytes a second: its own where it has run for a while, else what was measured ``before``."""
        return self._sent / self.seconds if self._sent and self.seconds > _SETTLED else before

    def progress(self, count: int) -> None:
        """Raises GivenUp to end the upload."""
        self._sent += count
        if self._given_up:
            raise GivenUp

    def give_up(self) -> None:
        self._given_up = True


class Rate:
    """Bytes a second of whole uploads, the latest counting most; None before the first."""

    def __init__(self) -> None:
        self.value: float | None = None

    def learn(self, size: int, seconds: float) -> None:
        seen = size / max(seconds, 1e-3)
        self.value = seen if self.value is None else (self.value + seen) / 2

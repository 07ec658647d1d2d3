"""Time that passes when a test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Passing(threading.Event):
    """An event; who waits for it moves the clock instead of sleeping. ``at`` does something at a time on that clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._plans: list[tuple[float, Callable[[], None]]] = []

    def at(self, time: float, action: Callable[[], None]) -> Passing:
        self._plans.append((time, action))
        return self

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if self.is_set():
            return True
        self._clock.advance(timeout)
        due = [plan for plan in self._plans if plan[0] <= self._clock.now]
        for plan in due:
            self._plans.remove(plan)
            plan[1]()
        return self.is_set()


class Waits(threading.Event):
    """Notes for how long was waited, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return self.is_set()

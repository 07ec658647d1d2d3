"""A rehearsal that is stopped itself (Ctrl-C, ``kill``, a CI job that is cancelled) ends what it started, then leaves.

The signals are noted, not obeyed on the spot: an exception in the middle of a cleanup would leave half of it undone.
Everything that waits asks ``check``.
"""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

from ..core.errors import Cancelled

_NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopSignals:
    """While it is entered, SIGTERM, SIGINT and SIGHUP are noted; one that was ignored before stays so (``nohup``)."""

    def __init__(self) -> None:
        self._seen: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in _NUMBERS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises Cancelled once a signal has come."""
        if self._seen is not None:
            raise Cancelled(f"stopped by {self._seen.name}: the training was ended and its folders were removed")

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._seen = signal.Signals(number)

"""One rank's side of an agreement: its command is held at its next boundary, and then acts at the one agreed on."""

from __future__ import annotations

import threading
import time

from ...core.gang.agreement import RankStanding
from ...spool import Spool
from ...spool.gang_board import GangBoard

_LOOK_EVERY = 0.001
_SETTLED = 0.05
_EARLIER = 10.0


class Stand:
    """The board that this supervisor shares with its command. Any thread may call it.

    ``start`` counts the starts of the command. What was meant for an earlier one is never written: it would hold the
    next one at a boundary that nobody agrees on any more.
    """

    def __init__(self, spool: Spool) -> None:
        self._board = GangBoard(spool.file(GangBoard.FILE))
        self._lock = threading.Lock()
        self._number = 0
        self.start = 0

    def clear(self) -> None:
        """Before the command starts."""
        with self._lock:
            self.start += 1
            self._number = 0
            self._board.clear()

    @property
    def passed(self) -> int:
        return self._board.passed

    def ask(self, number: int, start: int) -> RankStanding | None:
        """Where the command stands, once it waits at a boundary, or is in the middle of a step. None if ``start`` is
        over.

        It writes what it passes before it looks for a request: what it passed without seeing this one is known here
        well before the time to look is over. An earlier request is done first: its boundary is near.
        """
        patience = time.monotonic() + _EARLIER
        while not self._put(number, start, at_once=time.monotonic() >= patience):
            if start != self.start:
                return None
            time.sleep(_LOOK_EVERY)
        patience = time.monotonic() + _SETTLED
        while not (held := self._board.held) and time.monotonic() < patience:
            time.sleep(_LOOK_EVERY)
        with self._lock:
            if start != self.start:
                return None
            return RankStanding(held - 1, held=True) if held else RankStanding(self._board.passed)

    def _put(self, number: int, start: int, at_once: bool) -> bool:
        with self._lock:
            if start != self.start or (self._board.request and not at_once):
                return False
            self._number = number
            self._board.ask(number)
            return True

    def act_at(self, number: int, target: int, action: int) -> None:
        """What came of that question, unless a later one was put, or the command was started again."""
        with self._lock:
            if number == self._number:
                self._board.act_at(target, action)

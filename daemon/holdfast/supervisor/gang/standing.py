"""One rank's side of an agreement: its command is held at its next boundary, and then acts at the one agreed on."""

from __future__ import annotations

import threading
import time

from ...core.gang.agreement import RankStanding
from ...core.gang.messages import ActAt
from ...spool import Spool
from ...spool.gang_board import GangBoard

_LOOK_EVERY = 0.001
_SETTLED = 0.05


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
        well before the time to look is over. An earlier request that is still open is replaced: its boundary may be a
        long step away.
        """
        with self._lock:
            if start != self.start:
                return None
            earlier = self._board.target if self._board.request else 0
            self._number = number
            self._board.ask(number)
        patience = time.monotonic() + _SETTLED
        while not (held := self._board.held) and time.monotonic() < patience:
            time.sleep(_LOOK_EVERY)
        with self._lock:
            if start != self.start:
                return None
            passed = held - 1 if held else self._board.passed
            return RankStanding(passed, bool(held), earlier if earlier > passed else 0)

    def act_at(self, order: ActAt) -> None:
        """What came of that question, unless a later one was put, or the command was started again."""
        with self._lock:
            if order.number == self._number:
                self._board.act_at(order.target, order.action, order.save_at)

"""One rank's side of an agreement: its command is held at its next boundary, and then acts at the one agreed on."""

from __future__ import annotations

import time

from ...core.gang.agreement import RankStanding
from ...spool import Spool
from ...spool.gang_board import GangBoard

_LOOK_EVERY = 0.001
_SETTLED = 0.05
_EARLIER = 10.0


class Stand:
    """The board that this supervisor shares with its command."""

    def __init__(self, spool: Spool) -> None:
        self._board = GangBoard(spool.file(GangBoard.FILE))

    def clear(self) -> None:
        """Before the command starts."""
        self._board.clear()

    @property
    def passed(self) -> int:
        return self._board.passed

    def ask(self, number: int) -> RankStanding:
        """Where the command stands, once it waits at a boundary, or is in the middle of a step.

        It writes what it passes before it looks for a request: what it passed without seeing this one is known here
        well before the time to look is over. An earlier request is done first: its boundary is near.
        """
        patience = time.monotonic() + _EARLIER
        while self._board.request and time.monotonic() < patience:
            time.sleep(_LOOK_EVERY)
        self._board.ask(number)
        patience = time.monotonic() + _SETTLED
        while not (held := self._board.held) and time.monotonic() < patience:
            time.sleep(_LOOK_EVERY)
        return RankStanding(held - 1, held=True) if held else RankStanding(self._board.passed)

    def act_at(self, target: int, action: int) -> None:
        self._board.act_at(target, action)

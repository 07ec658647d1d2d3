"""Where a rank waits until it is known at which boundary all of its gang save or stop (core/gang/agreement.py)."""

from __future__ import annotations

import time

from ...core.errors import HoldfastError
from ...spool.gang_board import SAVE, GangBoard

_LOOK_EVERY = 0.001


class Gate:
    """``arrive`` at each boundary between batches, on all ranks alike. It costs a microsecond while nothing is asked.

    That a rank passes is written before the request is looked at, and the supervisor looks at what is passed well after
    it has made its request. So either this side sees the request or the supervisor sees that the boundary is passed.
    The same goes for a request that takes the place of an earlier one: that is acted on or not, and both sides know.
    """

    def __init__(self, board: GangBoard) -> None:
        self._board = board
        self._passed = board.passed

    def arrive(self) -> int:
        """0, or what all ranks do at this boundary: gang_board.SAVE or STOP. Waits while that is being agreed on."""
        board, boundary = self._board, self._passed + 1
        while True:
            request = board.request
            if not request:
                board.passed = boundary
                if not board.request:
                    self._passed = boundary
                    return 0
                board.passed = self._passed
                continue
            target = board.target
            if not target:
                board.held = boundary
                time.sleep(_LOOK_EVERY)
                continue
            save_at, action = board.save_at, board.action
            board.held = 0
            board.passed = boundary
            if board.request != request:  # another one takes its place, and nothing of this one is done
                board.passed = self._passed
                continue
            if target < boundary:
                raise HoldfastError(
                    f"the ranks were to act at boundary {target}, and this one is at {boundary} already"
                )
            self._passed = boundary
            if target > boundary:
                return SAVE if save_at == boundary else 0
            board.done = request
            return action

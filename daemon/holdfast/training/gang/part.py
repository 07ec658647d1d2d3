"""One rank's part in a gang: several machines that train one model together, each under its own supervisor.

The supervisors agree at which boundary all ranks save or stop. Rank 0 writes the pairs: the others' replicas are the
same, and what only they know (their position in the data, their random states) they send to it.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...core.checkpoint_name import CheckpointName
from ...core.errors import Exit, InvalidPair
from ...core.wire import Leaving, MayLeave, Message, Notice, PairWritten, RankState, SaveWanted, StopWanted
from ...spool.gang_board import GangBoard
from ..pair.pair_files import RANKS, Saved
from .gate import Gate
from .rank_state import OwnState, unpacked

STATES_WAIT = 30.0
_MOST_WAITING_BYTES = 256 << 20
_SAME_DATA = (
    "rank {} is given the same arrays as rank 0: each step trains on the same samples several times. Give each rank "
    "its share (x[rank::ranks], or holdfast.dataset(…, shard='auto'))"
)


class GangPart:
    """``rank`` of ``ranks``; ``tell`` sends a message to the supervisor, from any thread."""

    def __init__(self, rank: int, ranks: int, folder: Path, tell: Callable[[Message], None]) -> None:
        self.rank = rank
        self.ranks = ranks
        self._gate = Gate(GangBoard(folder / GangBoard.FILE))
        self._tell = tell
        self._arrived = threading.Condition()
        self._states: dict[int, dict[int, RankState]] = {}
        self._written: dict[int, str] = {}
        self._not_written = False
        self._save_wanted = False
        self._said_same_data = False
        self._may_leave = threading.Event()

    def arrive(self) -> int:
        """0, or what all ranks do at this boundary (gang_board.SAVE or STOP). All ranks arrive at the same ones."""
        action = self._gate.arrive()
        if action:
            self._save_wanted = False
        return action

    def want_stop(self, reason: str) -> None:
        """From any thread, or a signal handler's: it may have interrupted one that is sending."""
        threading.Thread(target=self._tell, args=(StopWanted(reason),), name="holdfast-stop", daemon=True).start()

    def want_save(self, reason: str) -> None:
        """On rank 0 only; once until it is done."""
        if not (self.rank or self._save_wanted):
            self._save_wanted = True
            self._tell(SaveWanted(reason))

    # --- the states of other ranks

    def send_state(self, state: OwnState) -> None:
        """To rank 0. Raises ValueError where it is too large: rank 0 hears of that, too."""
        try:
            data = state.packed(self.rank)
        except (ValueError, TypeError) as error:
            self._tell(RankState(self.rank, state.step, "", str(error)))
            raise
        self._tell(RankState(self.rank, state.step, base64.b64encode(data).decode()))

    def heard(self, message: Message) -> None:
        """In the session's thread."""
        with self._arrived:
            if isinstance(message, RankState):
                self._states.setdefault(message.step, {})[message.rank] = message
                while self._waiting_bytes() > _MOST_WAITING_BYTES:  # nobody came for them
                    del self._states[min(self._states)]
            elif isinstance(message, PairWritten) and message.name:
                self._written[message.step] = message.name
            elif isinstance(message, PairWritten):
                self._not_written = True
            elif isinstance(message, MayLeave):
                self._may_leave.set()
            self._arrived.notify_all()

    def alone(self) -> None:
        """The supervisor is gone: nobody is waited for."""
        self._may_leave.set()

    def states(self, own: OwnState, wait: float = STATES_WAIT) -> dict[int, bytes]:
        """Of all other ranks at that state, by their numbers. They are kept until ``saved``.

        Raises OSError if one does not come (TimeoutError), or is of another state.
        """
        others = set(range(self.ranks)) - {self.rank}

        def missing() -> set[int]:
            return others - set(self._states.get(own.step, {}))

        def is_decided() -> bool:
            return not missing() or any(one.error for one in self._states.get(own.step, {}).values())

        with self._arrived:
            arrived = self._arrived.wait_for(is_decided, wait)
            messages = dict(self._states.get(own.step, {}))
        for rank, message in messages.items():
            if message.error:
                raise OSError(f"rank {rank}: {message.error}")
        if not arrived:
            late = ", ".join(f"rank {rank}" for rank in sorted(others - set(messages)))
            raise TimeoutError(f"what only {late} knows of the state did not come within {wait:.0f} s")
        states = {rank: base64.b64decode(message.data) for rank, message in messages.items()}
        for rank, data in states.items():
            try:
                self._say_same_data(own.check(rank, data), rank)
            except (ValueError, InvalidPair) as error:
                raise OSError(str(error)) from None
        return states

    def _say_same_data(self, same: bool, rank: int) -> None:
        if same and not self._said_same_data:
            self._said_same_data = True
            self._tell(Notice(_SAME_DATA.format(rank)))

    def saved(self, step: int) -> None:
        """The pair of that step is written: no earlier state is asked for any more."""
        with self._arrived:
            for earlier in [one for one in self._states if one <= step]:
                del self._states[earlier]

    def _waiting_bytes(self) -> int:
        return sum(len(one.data) for states in self._states.values() for one in states.values())

    def own(self, saved: Saved) -> Saved:
        """With what only this rank knew of the state. Raises InvalidPair if the pair is of another number of ranks."""
        states = saved.facts.get(RANKS, {})
        if not isinstance(states, dict) or len(states) != self.ranks - 1:
            had = len(states) + 1 if isinstance(states, dict) else 0
            raise InvalidPair(f"it was written by {had} machines together, and now there are {self.ranks}")
        if not self.rank:
            return saved
        return replace(saved, facts=unpacked(states.get(self.rank), self.rank).merged(saved.facts))

    def pair_of(self, step: int, wait: float) -> CheckpointName | None:
        """The pair that rank 0 has written of that state; None if it could write none, or has not in time.

        Raises OSError in the first case.
        """
        with self._arrived:
            self._arrived.wait_for(lambda: step in self._written or self._not_written, wait)
            name = self._written.get(step)
            for earlier in [one for one in self._written if one <= step]:
                del self._written[earlier]
            if name is None and self._not_written:
                self._not_written = False
                raise OSError("rank 0 could not write the last checkpoint")
            return None if name is None else CheckpointName.parse(name)

    # --- the end

    def leave(self, stored: bool) -> None:
        """Waits until no other rank needs this process; then it ends at its exit without waiting for the others.

        The exit handlers of a framework's cluster would wait for all ranks, and take the exit code away.
        """
        self._tell(Leaving(stored))
        self._may_leave.wait()  # the supervisors' times bound it, and the connection to this one
        atexit.register(_end, int(Exit.STOPPED if stored else Exit.UNSTORED))


def _end(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)

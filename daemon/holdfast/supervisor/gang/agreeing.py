"""Rank 0 has all ranks act at one boundary: it asks each where it stands, and says where they act."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ...core import wire
from ...core.gang import messages as says
from ...core.gang.agreement import Agreement, RankStanding
from ...core.machine.events import Event, GangBroken
from ...spool.gang_board import SAVE, STOP
from .roster import MemberState, ranks_text
from .standing import Stand

_ANSWER_SECONDS = 15.0
_LOOK_EVERY = 0.2


@dataclass(frozen=True)
class RoundRanks:
    """The ranks whose commands run in that round: ``members``, and rank 0's own, where it is one of ``numbers``.

    ``start`` is the one that ``stand`` serves in this round.
    """

    round: int
    numbers: frozenset[int]
    members: Sequence[MemberState]
    stand: Stand
    start: int


class Agreeing:
    """Safe for threads. ``send`` passes a message on to rank 0's training process, ``put`` takes events for the loop.

    ``stops``: all of this round were told at which boundary they stop.
    """

    def __init__(self, send: Callable[[wire.Message], bool], put: Callable[[Event], None]) -> None:
        self._send = send
        self._put = put
        self._changed = threading.Condition()
        self._one_at_a_time = threading.Lock()
        self._number = 0
        self._agreement: Agreement | None = None
        self.stops = False

    def begin_round(self) -> None:
        with self._changed:
            self._agreement, self.stops = None, False

    def end_round(self) -> None:
        with self._changed:
            self._agreement = None

    def ask(self, message: wire.Save | wire.Stop, ranks: RoundRanks) -> None:
        """In a thread of its own. A stop takes the place of a save that is being agreed on."""
        action = STOP if isinstance(message, wire.Stop) else SAVE
        with self._changed:
            if self.stops:
                return
            if self._agreement is not None:
                if action == STOP:
                    self._agreement = replace(self._agreement, action=action, reason=message.reason)
                return
            self._number += 1
            self._agreement = Agreement(self._number, action, message.reason, ranks.numbers)
            work = (says.Ask(self._number, ranks.round), ranks)
        threading.Thread(target=self._agree, args=work, name="gang-agrees", daemon=True).start()

    def answered(self, rank: int, number: int, standing: RankStanding) -> None:
        with self._changed:
            if self._agreement is not None and self._agreement.number == number:
                self._agreement = self._agreement.answered(rank, standing)
                self._changed.notify_all()

    def without(self, rank: int) -> None:
        """Its command has ended."""
        with self._changed:
            if self._agreement is not None:
                self._agreement = self._agreement.without(rank)
                self._changed.notify_all()

    def _agree(self, question: says.Ask, ranks: RoundRanks) -> None:
        """One after the other: each rank hears what came of the last question before the next one."""
        with self._one_at_a_time:
            for member in ranks.members:
                member.link.send(question)
            standing = ranks.stand.ask(question.number, ranks.start)
            if standing is None:
                return
            self.answered(0, question.number, standing)
            order = self._wait(question.number)
            if order is None:
                return
            for member in ranks.members:
                member.link.send(order)
            self._send(wire.Stop(order.reason) if order.action == STOP else wire.Save(order.reason))
            ranks.stand.act_at(order)

    def _wait(self, number: int) -> says.ActAt | None:
        """Until all have answered. None if they do not, or something else has come since."""
        patience = time.monotonic() + _ANSWER_SECONDS
        with self._changed:
            while (agreement := self._agreement) is not None and agreement.target is None:
                if agreement.number != number or time.monotonic() >= patience:
                    break
                self._changed.wait(_LOOK_EVERY)
            if agreement is None or agreement.number != number:
                return None
            target, self._agreement = agreement.target, None
            self.stops = target is not None and agreement.action == STOP
        if target is None:
            missing = ranks_text(list(agreement.missing))
            self._put(GangBroken(f"{missing} did not say within {_ANSWER_SECONDS:.0f} s where it stands"))
            return None
        return says.ActAt(number, target, agreement.action, agreement.reason, agreement.save_at)

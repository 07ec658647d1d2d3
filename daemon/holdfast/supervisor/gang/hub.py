"""Rank 0's part in a gang: it has the run's lease, listens for the other ranks, and has all of them act as one.

The machine of core/machine decides about one command; here that command is all ranks' commands. What is done to it is
done on every rank, and it has ended when it has on all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from ...core import wire
from ...core.checkpoint_name import CheckpointName
from ...core.errors import Cancelled, Exit, RanksMissing
from ...core.event_sink import EventSink
from ...core.gang import messages as says
from ...core.gang.agreement import RankStanding
from ...core.machine.events import (
    CheckpointRefused,
    ChildExited,
    Event,
    GangBroken,
    NoticeStands,
    PairUnusable,
)
from .agreeing import Agreeing, RoundRanks
from .link import Link
from .rendezvous import Reach, environment, free_port
from .roster import MemberState, Roster, RoundEnd, ranks_text
from .standing import Stand
from .watch import GangWatch, RankSeen
from .welcoming import Door

_LAG_SECONDS = 300.0
_LOOK_EVERY = 0.2


class Hub:
    """``count`` ranks, of which this is the first. ``put`` takes events for the supervisor's loop, from any thread.

    ``send`` passes a message on to this machine's training process. ``rendezvous``: nothing else has told the machines
    of each other. ``stall_timeout`` is in seconds; 0 for never. So many seconds of ``lag`` a rank may train on after
    another one's command ended well. ``idle``: for so long this machine's command has been; the loop sets it.
    """

    def __init__(
        self,
        count: int,
        rendezvous: bool,
        stall_timeout: float,
        say: EventSink,
        put: Callable[[Event], None],
        send: Callable[[wire.Message], bool],
        lag: float = _LAG_SECONDS,
    ) -> None:
        self._rendezvous = rendezvous
        self._stall_timeout = stall_timeout
        self._say = say
        self._put = put
        self._send = send
        self._lag = lag
        self._roster = Roster(count)
        self._changed = threading.Condition()
        self._round = 0
        self._prepare: says.Prepare | None = None  # while ranks get ready for the round
        self._end: RoundEnd | None = None  # while commands run
        self._own: ChildExited | None = None
        self._watched_lag = False
        self._agreeing = Agreeing(send, put)
        self._stand: Stand | None = None
        self.idle = 0.0
        self._closed = threading.Event()
        self._door = Door(self._serve)
        threading.Thread(target=self._watch, name="gang-watch", daemon=True).start()

    @property
    def key(self) -> str:
        return self._door.key

    @property
    def announcement(self) -> dict[str, Any]:
        """For the lease: where the members find this supervisor, and how it knows them."""
        return {"ranks": self._roster.count, **self._door.announcement}

    def close(self) -> None:
        with self._changed:
            self._closed.set()
            members = list(self._roster)
        self._door.close()
        for member in members:
            member.link.close()

    def bye(self, code: Exit, text: str) -> None:
        """The gang ends: each member's supervisor exits with the same code."""
        with self._changed:
            members = list(self._roster)
        for member in members:
            member.link.send(says.Bye(int(code), text))

    # --- a round: the restore's thread -----------------------------------------------------------------------------

    def gather(
        self, prepare: Callable[[int], says.Prepare], cancelled: threading.Event, wait: float, stand: Stand
    ) -> None:
        """Until all ranks have what the round needs. Raises Cancelled, or RanksMissing where one is absent for ``wait``
        seconds, or cannot get it for so long.
        """
        with self._changed:
            self._round += 1
            number = self._round
            self._prepare, self._stand, self._end = prepare(number), stand, None
            self._agreeing.begin_round()
            for member in self._roster:
                member.error = ""
                member.link.send(self._prepare)
            absent_since, told = time.monotonic(), False
            while unready := self._roster.unprepared(number):
                if cancelled.is_set():
                    raise Cancelled("gave up waiting for the other ranks")
                missing, now = self._roster.missing, time.monotonic()
                if not missing:
                    absent_since = now
                elif now - absent_since >= wait:
                    late = f"{ranks_text(missing)} of {self._roster.count}"
                    raise RanksMissing(f"{late} did not come within --lease-wait {wait:.0f} s")
                if failing := self._roster.failing(now - wait):
                    text = "; ".join(f"rank {one.rank} ({one.host}): {one.error}" for one in failing)
                    raise RanksMissing(f"{text} (--lease-wait {wait:.0f} s is over)")
                if not told and not self._changed.wait(1.0):
                    told = True
                    text = f"waiting for {ranks_text(unready)} of {self._roster.count} (--ranks 1: to train alone)"
                    self._say("gang-waits", text, ranks=unready)
                self._changed.wait(_LOOK_EVERY)

    # --- the command: the loop's thread ----------------------------------------------------------------------------

    def begins(self) -> dict[str, str]:
        """Before this machine's command starts: what is added to its environment. The others start theirs.

        A rank that was lost since it was ready breaks the gang at once.
        """
        with self._changed:
            assert self._stand is not None
            self._stand.clear()
            self._prepare, self._end = None, RoundEnd()
            gone = self._roster.unprepared(self._round)
            for rank in gone:
                self._end.lost[rank] = "it was lost before the command was started"
            environments = {} if gone else self._environments()
            for member in self._roster:
                if member.rank not in gone:
                    member.running, member.passed = self._round, 0
                    member.link.send(says.Go(self._round, environments.get(member.rank, {})))
        if gone:
            self._after_an_end(f"{ranks_text(gone)}: lost before the command was started")
        return environments.get(0, {})

    def _environments(self) -> dict[int, dict[str, str]]:
        if not self._rendezvous:
            return {}
        members = list(self._roster)
        views = sorted((one.link.own_address for one in members), key=lambda address: address.startswith("127."))
        places = [Reach(views[0], free_port()), *(Reach(one.link.peer_address, one.port) for one in members)]
        return {rank: environment(rank, places) for rank in range(len(places))}

    def not_begun(self) -> None:
        """This machine's command could not be started."""
        self.end_others(at_once=True)
        with self._changed:
            self._end = None

    def end_others(self, at_once: bool) -> None:
        with self._changed:
            for member in self._roster:
                if member.running:
                    member.link.send(says.End(at_once))

    def ask(self, message: wire.Save | wire.Stop) -> bool:
        """Has all ranks save or stop at one boundary, once that is agreed on."""
        with self._changed:
            if self._end is None or self._stand is None:
                return True
            members = [one for one in self._roster if one.running == self._round]
            numbers = frozenset({0, *(one.rank for one in members)} - self._end.over)
            ranks = RoundRanks(self._round, numbers, members, self._stand, self._stand.start)
        self._agreeing.ask(message, ranks)
        return True

    # --- the ends of all commands ----------------------------------------------------------------------------------

    def own_ended(self, event: ChildExited) -> None:
        """In the reaper's thread, in place of the event: that comes when all commands have ended."""
        failure = {} if event.failure is None else asdict(event.failure)
        if self._agreeing.stops:  # the others wait for its pair, and for being let go
            self._to_members(wire.PairWritten(-1, ""))
            self._to_members(says.Leave())
        self._ended(0, says.CommandEnded(self._round, event.code, event.how, failure), event)

    def _ended(self, rank: int, ended: says.CommandEnded, own: ChildExited | None = None) -> None:
        with self._changed:
            if self._end is None or ended.round != self._round:
                if own is not None:
                    self._put(own)
                return
            if own is not None:
                self._own = own
            failed = ended.code not in (Exit.COMPLETE, Exit.STOPPED)
            self._end.note(rank, ended, failed)
            self._agreeing.without(rank)
            member = self._roster.members.get(rank)
            if member is not None:
                member.running = 0
            cause = _cause(rank, ended) if failed else ""
        self._after_an_end(cause)

    def _after_an_end(self, cause: str) -> None:
        """Of one rank's command: the others have nothing to train with, or are about to end as well.

        Once all were told at which boundary they stop, the state may be there all the same: the stop's own times bound
        it then.
        """
        with self._changed:
            end = self._end
            if end is None:
                return
            left = set(range(self._roster.count)) - end.over
            others_over = not left - {0}
            breaks = bool(cause) and not end.broken and not self._agreeing.stops
            end.broken |= bool(cause)
        if breaks:
            self.end_others(at_once=True)
            if 0 in left:
                self._put(GangBroken(cause))
        elif left and not cause and not self._watched_lag:
            self._watched_lag = True
            timer = threading.Timer(self._lag, self._lags, (self._round,))
            timer.daemon = True
            timer.start()
        if others_over and 0 in left:
            self._send(wire.MayLeave())
        if not left:
            self._all_ended(end)

    def _lags(self, number: int) -> None:
        """What the script does after its training (evaluation, export) takes as long as it takes."""
        with self._changed:
            if self._end is None or self._round != number:
                return
            left = set(range(self._roster.count)) - self._end.over
            late = sorted(left - self._end.finished)
        if late:
            text = f"{ranks_text(late)} still trains {self._lag:.0f} s after another rank's command ended: it is ended"
            self._say("gang-late", text, warning=True)
            self.end_others(at_once=True)
            if 0 in left:
                self._put(GangBroken(text))

    def _all_ended(self, end: RoundEnd) -> None:
        with self._changed:
            if self._end is not end:
                return
            own, self._end, self._own, self._watched_lag = self._own, None, None, False
            self._agreeing.end_round()
        self._put(end.as_one(own or ChildExited(1, how="it never started")))

    def _watch(self) -> None:
        """In a thread of its own."""
        watch = GangWatch(self._stall_timeout, self._say, self._put)
        while not self._closed.wait(1.0):
            watch.look(self._seen(), time.monotonic())

    def _seen(self) -> dict[int, RankSeen]:
        """Where each rank is; empty while not all train."""
        with self._changed:
            if self._end is None or self._stand is None or self._end.over or self._end.finished:
                return {}
            others = {one.rank: RankSeen(one.passed, one.idle) for one in self._roster if one.running}
            return {0: RankSeen(self._stand.passed, self.idle), **others}

    # --- the members' connections ----------------------------------------------------------------------------------

    def _serve(self, link: Link, hello: says.Join) -> None:
        """One that knows the key. In a thread of its own, until it is gone."""
        member = self._join(link, hello)
        if member is None:
            return
        link.beat()
        try:
            while (message := link.receive()) is not None:
                self._heard(member, message)
        finally:
            self._lose(member)

    def _join(self, link: Link, hello: says.Join) -> MemberState | None:
        with self._changed:
            place = "the gang ends" if self._closed.is_set() else self._roster.place_for(hello.rank)
            if isinstance(place, str):
                link.send(says.NotJoined(place))
                return None
            member = MemberState(place, link, hello.host)
            self._roster.members[place] = member
            link.send(says.Joined(place, self._roster.count, self._door.proof_for(hello)))
            if self._prepare is not None:
                link.send(self._prepare)
            self._changed.notify_all()
        self._say("gang-joined", rank=place, host=hello.host, address=link.peer_address)
        return member

    def _heard(self, member: MemberState, message: says.LinkMessage) -> None:
        rank = member.rank
        if isinstance(message, says.ReadyToStart):
            self._is_ready(member, message)
        elif isinstance(message, says.Beat):
            member.passed, member.idle = message.passed, message.idle
        elif isinstance(message, says.Stands):
            self._agreeing.answered(rank, message.number, RankStanding(message.passed, message.held, message.owes))
        elif isinstance(message, says.CommandEnded):
            self._ended(rank, message)
        elif isinstance(message, says.MachineStops):
            seconds = message.seconds if message.seconds >= 0 else None
            self._put(NoticeStands(f"rank {rank} ({member.host}): {message.what}", seconds, f"rank {rank}"))
        elif isinstance(message, wire.Refused):
            self._put(CheckpointRefused(f"rank {rank}: {message.error}"))
        elif isinstance(message, wire.Unusable):
            self._put(PairUnusable(message.name, f"rank {rank}: {message.error}"))
        else:
            self.heard(rank, message)

    def _is_ready(self, member: MemberState, message: says.ReadyToStart) -> None:
        with self._changed:
            if message.round == self._round:
                member.failing_since = member.failing_since if member.error else time.monotonic()
                member.error = message.error
                member.port, member.prepared = message.port, 0 if message.error else message.round
                self._changed.notify_all()
        if message.error:
            self._say("gang-late", f"rank {member.rank}: {message.error}", warning=True)

    def heard(self, rank: int, message: object) -> None:
        """What a training process of a gang says to its supervisor (core/wire/rank_messages.py)."""
        if isinstance(message, wire.RankState):
            self._send(replace(message, rank=rank))
        elif isinstance(message, wire.PairSaved) and (name := CheckpointName.parse(message.name)) is not None:
            self._to_members(wire.PairWritten(name.step, message.name))
        elif isinstance(message, wire.SaveFailed) and not rank:
            self._to_members(wire.PairWritten(-1, ""))
        elif isinstance(message, wire.StopWanted):
            self._put(NoticeStands(f"rank {rank}: {message.reason}", None, f"process of rank {rank}"))
        elif isinstance(message, wire.SaveWanted):
            self.ask(wire.Save(message.reason))
        elif isinstance(message, wire.TrainingBegan | wire.TrainingFinished):
            self._training(rank, over=isinstance(message, wire.TrainingFinished))
        elif isinstance(message, wire.Leaving) and not rank:
            self._to_members(says.Leave())
            with self._changed:
                alone = self._end is None or not set(range(1, self._roster.count)) - self._end.over
            if alone:
                self._send(wire.MayLeave())

    def _training(self, rank: int, over: bool) -> None:
        with self._changed:
            if self._end is not None:
                self._end.finished = self._end.finished | {rank} if over else self._end.finished - {rank}

    def _to_members(self, message: says.LinkMessage) -> None:
        with self._changed:
            members = [one for one in self._roster if one.running]
        for member in members:
            member.link.send(message)

    def _lose(self, member: MemberState) -> None:
        with self._changed:
            if self._closed.is_set() or self._roster.members.get(member.rank) is not member:
                return
            del self._roster.members[member.rank]
            why = f"its machine is lost ({member.host})"
            during, needed = False, True
            if self._end is not None and member.rank not in self._end.over:
                self._end.lost[member.rank] = why
                during, needed = True, member.rank not in self._end.finished
            self._changed.notify_all()
        self._say("gang-lost", f"rank {member.rank}: {why}", warning=True, rank=member.rank, host=member.host)
        if during:
            self._after_an_end(f"rank {member.rank}: {why}" if needed else "")


def _cause(rank: int, ended: says.CommandEnded) -> str:
    return f"rank {rank}: {ended.how or f'exit {ended.code}'}"

"""The supervisor of a rank that is not the first: it does what rank 0's supervisor says, and reports to it.

It holds no lease, and writes nothing to the run in the store: rank 0's does that for all.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ...core import wire
from ...core.errors import Exit, SettingsError
from ...core.event_sink import ByteSink
from ...core.gang import messages as says
from ...core.machine import events
from ...core.machine.state import Phase, State
from ...core.redact import Redactor
from ...spool.gang_board import STOP
from ...store import Store
from .. import stop_signals
from ..command.reaper import Reaper
from ..command_parts import CommandParts
from ..messages_to_events import Reports
from ..notices.source import NoticeSource
from ..provenance import origin
from ..report.journal import Journal
from ..settings import RunSettings
from .link import Link
from .member_round import Preparation, RankFolder
from .rendezvous import VARIABLES
from .search import LetIn, Search
from .standing import Stand

_LOOK_EVERY = 1.0
_TO_RANK_0 = (
    wire.RankState,
    wire.StopWanted,
    wire.SaveWanted,
    wire.Leaving,
    wire.Refused,
    wire.Unusable,
    wire.TrainingBegan,
    wire.TrainingFinished,
)
_MARGIN = 10.0


@dataclass(frozen=True)
class _Signal:
    name: str


@dataclass(frozen=True)
class _Said:
    """``message`` of rank 0; None: the connection is gone."""

    link: Link
    message: says.LinkMessage | None


_Item = _Signal | _Said | events.Event | SettingsError


class GangMember:
    """Runs one rank's command, from start to start. Use from the main thread, once. Made as loop.Supervisor is."""

    def __init__(
        self,
        settings: RunSettings,
        store: Store,
        journal: Journal,
        sources: Callable[[Callable[[events.Event], None]], Sequence[NoticeSource]],
        environment: Mapping[str, str],
        console: ByteSink | None,
        reaper: Reaper,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert settings.rank is not None
        self._settings = settings
        self._rank = settings.rank.number
        self._journal = journal
        self._say = say = journal.event
        self._clock = clock
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        put = self._queue.put
        self._sources = sources(put)
        self._origin = origin(settings.command, Redactor(environment))
        self._reports = Reports(say, lambda event: None)
        self._ready = threading.Event()
        self._folder = RankFolder(settings.work_dir, store, say, journal.attach)
        self._preparation = Preparation(self._folder, say, failed=put)
        parts = CommandParts(
            settings,
            self._origin["command"],
            environment,
            console,
            0.0,
            reaper,
            journal,
            clock,
            self._heard,
            self._welcome,
            self._ready,
            self._folder.bring,
            on_exit=put,
        )
        self._needed, self._channel, self._command = parts.needed, parts.channel, parts.command
        self._systemd = parts.systemd
        self._search = Search(settings, store, say, clock)
        self._link: Link | None = None
        self._run = ""
        self._next: says.Prepare | None = None
        self._running = 0
        self._idle = 0.0
        self._unstored = False  # something may have been trained of which nobody has said yet that it is stored
        self._leaving = ""
        self._kill_at: float | None = None
        self._notices: dict[str, events.NoticeStands] = {}
        self._awaited = {source.name for source in self._sources}  # those that have not looked yet
        self._notice_said = False
        self._code: Exit | None = None

    def run(self) -> Exit:
        stop_signals.listen(lambda name: self._queue.put(_Signal(name)))
        try:
            self._command.watch()
            self._channel.start()
            for source in self._sources:
                source.start()
            self._systemd.ready()
            while self._code is None:
                self._seek()
                self._serve()
        finally:
            stop_signals.ignore()
            self._close()
        return self._code

    # --- rank 0 is found -------------------------------------------------------------------------------------------

    def _seek(self) -> None:
        """Until it is joined, or there is a reason to end. A machine that is going away joins nobody: it would take all
        ranks along.
        """
        self._search.begin()
        while self._link is None and self._code is None:
            if self._awaited or self._notices:
                before = self._clock()
                self._turn(_LOOK_EVERY)
                self._search.pause(self._clock() - before)
                continue
            let_in = self._search.look()
            if let_in is not None:
                self._joined(let_in)
            elif self._search.code is not None:
                self._code = self._search.code
            else:
                self._turn(_LOOK_EVERY)

    def _joined(self, let_in: LetIn) -> None:
        self._run, self._link, rank = let_in
        link = let_in.link
        self._say("gang-joined", rank=rank, host="", address=link.peer_address)
        link.beat(self._sign)

        def read() -> None:
            while (message := link.receive()) is not None:
                self._queue.put(_Said(link, message))
            self._queue.put(_Said(link, None))

        threading.Thread(target=read, name="gang", daemon=True).start()

    def _sign(self) -> says.Beat:
        stand = self._folder.stand
        return says.Beat(0 if stand is None else stand.passed, self._idle)

    def _serve(self) -> None:
        while self._link is not None and self._code is None:
            self._turn(_LOOK_EVERY)

    # --- one thing after the other ---------------------------------------------------------------------------------

    def _turn(self, wait: float) -> None:
        due = self._kill_at
        with contextlib.suppress(queue.Empty):
            self._take(self._queue.get(timeout=wait if due is None else min(wait, max(0.0, due - self._clock()))))
        if self._kill_at is not None and self._clock() >= self._kill_at:
            self._kill_at = None
            self._command.kill()
            if not self._running:
                self._leaves_unsure("rank 0 did not say in time how the stop ended")
        self._command.has_progressed()
        self._idle = self._command.idle_for(self._clock())
        self._systemd.turn(self._as_state(), self._command.progress)

    def _as_state(self) -> State:
        """As far as systemd's manager is to know it."""
        if self._leaving:
            return State(phase=Phase.DRAINING, stopping=self._leaving, deadline=self._kill_at)
        return State(phase=Phase.RUNNING if self._running else Phase.RESTORING)

    def _take(self, item: _Item) -> None:
        if isinstance(item, _Signal):
            self._asked_to_stop(item.name, -1.0)
        elif isinstance(item, _Said):
            if item.link is self._link:
                self._hear(item.message)
        elif isinstance(item, events.NoticeStands):
            self._awaited.discard(item.source)
            self._notices[item.source] = item
            if self._link is not None and (self._unstored or self._leaving):
                self._asked_to_stop(item.what, -1.0 if item.seconds is None else item.seconds)
            else:
                self._say_notice(item)
                self._let_go()
        elif isinstance(item, events.NoNotice):
            self._awaited.discard(item.source)
            self._notices.pop(item.source, None)
            self._notice_said = self._notice_said and bool(self._notices)
        elif isinstance(item, events.RebalanceRecommended):
            self._rebalance(self._settings.rules.rebalance)
        elif isinstance(item, events.ChildExited):
            self._ended(item)
        elif isinstance(item, SettingsError):
            self._say("failed", str(item), warning=True)
            self._code = item.exit_code

    def _rebalance(self, setting: str) -> None:
        what = "rebalance recommendation"
        if setting == "drain" and self._link is not None:
            self._asked_to_stop(what, -1.0)
        elif setting == "save":
            self._tell(wire.SaveWanted(what))

    def _say_notice(self, notice: events.NoticeStands) -> None:
        """As core/machine/rules/stops.py says it of a machine that trains alone."""
        if not self._notice_said:
            self._notice_said = True
            until = f": {notice.until}" if notice.until else ""
            text = f"{notice.what}: this machine is going away, so nothing is started while the notice stands{until}"
            self._say("waiting", text)

    def _asked_to_stop(self, what: str, seconds: float) -> None:
        """Rank 0 has all ranks stop at one boundary; a member that has joined nobody has nothing to save."""
        self._say("stopping", what)
        drain = self._settings.rules.drain_time if seconds < 0 else min(seconds, self._settings.rules.drain_time)
        if not self._tell(says.MachineStops(what, seconds)):
            self._leaves_unsure("rank 0 is lost")
        elif not self._leaving:
            self._leaving, self._kill_at = what, self._clock() + drain + _MARGIN

    def _hear(self, message: says.LinkMessage | None) -> None:
        if message is None:
            self._lost()
        elif isinstance(message, says.Prepare):
            self._next, self._unstored = message, False
            if self._running:
                self._command.kill()
            else:
                self._prepare()
        elif isinstance(message, says.Go):
            self._go(message)
        elif isinstance(message, says.Ask) and self._folder.stand is not None and message.round == self._running:
            work = (message.number, self._folder.stand, self._folder.stand.start, self._link)
            threading.Thread(target=self._answer, args=work, daemon=True).start()
        elif isinstance(message, says.ActAt) and self._folder.stand is not None:
            stops = message.action == STOP
            self._channel.send(wire.Stop(message.reason) if stops else wire.Save(message.reason))
            self._folder.stand.act_at(message)
        elif isinstance(message, wire.PairWritten):
            self._channel.send(message)
        elif isinstance(message, says.Leave):
            self._channel.send(wire.MayLeave())
        elif isinstance(message, says.End):
            self._command.kill() if message.at_once else self._command.terminate()
        elif isinstance(message, says.Bye):
            self._say("exit", f"rank 0 ends the gang: {message.text or f'exit {message.code}'}", code=message.code)
            self._code = Exit(message.code)

    def _answer(self, number: int, stand: Stand, start: int, link: Link) -> None:
        standing = stand.ask(number, start)
        if standing is not None:
            link.send(says.Stands(number, standing.passed, standing.held, standing.owes))

    def _tell(self, message: says.LinkMessage) -> bool:
        link = self._link
        return link is not None and link.send(message)

    def _lost(self) -> None:
        """Rank 0's machine, or the way to it. The command has nothing to train with; the next rank 0 decides."""
        self._say("gang-lost", "rank 0 is lost: its machine, or the connection to it", warning=True, rank=0, host="")
        self._let_go()
        self._command.kill()
        if self._leaving:
            self._leaves_unsure("rank 0 is lost in the stop")
        self._unstored = False  # an interruption: what was not stored is trained again

    def _let_go(self) -> None:
        """Of rank 0, which waits for another machine of this rank then."""
        if self._link is not None:
            self._link.close()
        self._link = self._next = None
        self._preparation.give_up()

    def _leaves_unsure(self, why: str) -> None:
        """The stop is over for this machine. How it ended is rank 0's to say."""
        self._code = Exit.UNSTORED if self._unstored else Exit.STOPPED
        if self._unstored:
            text = f"{why}: nobody knows whether the last state is stored; the next start resumes the newest that is"
            self._say("exit", f"{text} (exit {int(self._code)})", code=int(self._code))

    # --- a round ---------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        order, link = self._next, self._link
        if order is None or link is None:
            return
        self._next = None
        self._ready.clear()
        if order.run != self._run:
            text = f"rank 0 trains {order.run!r}, and the lease that led to it is of {self._run}"
            self._queue.put(SettingsError(text))
        else:
            self._preparation.begin(order, link.send)

    def _go(self, message: says.Go) -> None:
        folder = self._folder
        if folder.order is None or folder.order.round != message.round or folder.spool is None or folder.stand is None:
            self._tell(says.CommandEnded(message.round, 1, "it is not ready for that start", {}))
            return
        folder.stand.clear()
        self._preparation.give_port()
        self._reports.command_starts()
        self._ready.set()
        environment = {name: str(value) for name, value in message.environment.items() if name in VARIABLES}
        try:
            self._command.start(folder.spool, environment)
            self._running, self._unstored = message.round, True
        except (OSError, RuntimeError) as error:
            self._tell(says.CommandEnded(message.round, 1, f"it cannot be started: {error}", {}))

    def _ended(self, event: events.ChildExited) -> None:
        self._command.kill()
        self._command.forget(event, stopping=bool(self._leaving))
        number, self._running = self._running, 0
        self._ready.clear()
        failure = {} if event.failure is None else asdict(event.failure)
        self._tell(says.CommandEnded(number, event.code, event.how, failure))
        if self._next is not None:
            self._prepare()

    def _welcome(self) -> wire.Welcome:
        """In the channel's thread."""
        order, spool = self._folder.order, self._folder.spool
        assert order is not None
        assert spool is not None
        return wire.Welcome(
            run_dir=str(spool.path.absolute()),
            run=order.run,
            incarnation=order.incarnation,
            next_save=0,
            resume=order.resume,
            durable=False,
            origin=self._origin,
            claimed=sorted(self._reports.claimed),
            finished=sorted(self._reports.finished),
            extended=order.extended,
            every=order.every,
            rank=self._rank,
            ranks=self._settings.ranks,
        )

    def _heard(self, message: wire.Message) -> None:
        """In the channel's thread."""
        if isinstance(message, _TO_RANK_0):
            self._tell(message)
            self._reports.heard(message)
        elif isinstance(message, wire.PairWanted):
            self._needed.want(message)
        else:
            self._reports.heard(message)

    def _close(self) -> None:
        for source in self._sources:
            source.stop()
        if self._link is not None:
            self._link.close()
        self._preparation.give_up()
        self._command.kill()
        self._command.dismiss()
        self._channel.close()
        self._folder.close()

"""The shell around core/machine/table.py: one queue, one blocking ``get``; effects are performed by perform.py, and
their results come back as events.

A signal handler puts a value into the queue and returns; threads do the same. Only this loop, in the main thread,
touches the state.
"""

from __future__ import annotations

import contextlib
import json
import queue
import time
from collections.abc import Callable, Mapping, Sequence

from ..core import wire
from ..core.errors import Exit
from ..core.event_sink import ByteSink
from ..core.machine import events, table
from ..core.machine.flight_recorder import Recorder
from ..core.preload import Preload, digest_of
from ..core.redact import Redactor
from ..spool import Spool, only_here, write_whole
from ..store import Store
from . import stop_signals
from .command.reaper import Reaper
from .command_parts import CommandParts
from .gang.hub import Hub
from .messages_to_events import Reports
from .notices.source import NoticeSource
from .perform import Performer
from .provenance import origin
from .report.journal import Journal
from .report.pace import Pace
from .restore.prepare import Preparer
from .restorer import Restorer
from .settings import RunSettings
from .upload.store_pair import store_pair

_HEARTBEAT = 1.0
_IMPORT_SECONDS = 60.0  # importing TensorFlow takes most of it on a new machine's disk
_RECORDED = (Exit.FENCED, Exit.FAILED, Exit.UNSTORED)
RECORD_FILE = "last-events.json"
_SECOND_PROCESS = (
    "a second process of the command trains, where several machines train together: they resume one process each. "
    "Give each script a run of its own"
)


class Supervisor:
    """Runs one command to its end. Use from the main thread, once.

    ``sources`` is given the function that notices are reported to, and returns their sources.
    """

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
        self._settings = settings
        self._journal = journal
        self._say = say = journal.event
        self._clock = clock
        self._queue: queue.SimpleQueue[events.Event] = queue.SimpleQueue()
        self._recorder = Recorder()
        put = self._queue.put
        self._redactor = redactor = Redactor(environment)
        made_by = origin(settings.command, redactor)
        self._preload: Preload | None = None
        self._digest = digest_of(settings.command, made_by["script_sha256"])
        reports = Reports(say, put)
        self._sources = sources(put)
        self._state = table.State(rules=settings.rules, awaited=frozenset(source.name for source in self._sources))
        self._hub = hub = self._make_hub()
        self._preparer = Preparer(
            settings,
            store,
            say,
            journal.attach,
            store_pair,
            on_lease_lost=lambda holder: put(events.LeaseLost(holder)),
            on_out_of_time=lambda: put(events.OutOfTime()),
            on_waiting=self._stand_by,
            gang=None if hub is None else hub.announcement,
        )
        self._restorer = Restorer(settings, store, say, self._preparer, reports, put, redactor, made_by, clock, hub)
        self._reports = reports
        parts = CommandParts(
            settings,
            made_by["command"],
            environment,
            console,
            settings.stall_timeout,
            reaper,
            journal,
            clock,
            self._heard,
            self._restorer.welcome,
            self._restorer.brought,
            self._restorer.bring_needed,
            on_exit=put if hub is None else hub.own_ended,
        )
        self._needed, self._channel, self._command = parts.needed, parts.channel, parts.command
        self._systemd = parts.systemd
        self._performer = Performer(
            settings.work_dir, settings.name, self._restorer, self._command, self._channel, reports, say, put, hub
        )
        self._pace = Pace(say)
        journal.listen(self._pace.heard)

    def _make_hub(self) -> Hub | None:
        """For the first of several machines that train together."""
        settings = self._settings
        if settings.ranks == 1:
            return None
        rendezvous = settings.rendezvous == "store"
        return Hub(
            settings.ranks,
            rendezvous,
            settings.stall_timeout,
            self._say,
            self._queue.put,
            lambda message: self._channel.send(message),
        )

    def run(self) -> Exit:
        stop_signals.listen(lambda name: self._queue.put(events.StopRequested(name)))
        try:
            self._command.watch()
            self._channel.start()
            for source in self._sources:
                source.start()
            if not self._sources:
                self._queue.put(events.NoNotice())
            self._systemd.ready()
            while not self._state.ended:
                self._turn()
        except Exception as error:  # the command must not run on alone, whatever it was
            self._say("failed", f"a defect in holdfast, or a broken machine: {error!r}", warning=True)
            self._command.kill()
            self._keep_record(Exit.FAILED, repr(error))
            return Exit.FAILED
        finally:
            stop_signals.ignore()
            self._close()
        assert self._state.exit_code is not None
        self._keep_record(self._state.exit_code)
        return self._state.exit_code

    def _keep_record(self, code: Exit, defect: str = "") -> None:
        """Beside events.jsonl: core/machine/flight_recorder.py steps through an end that should not have come."""
        folder, record = self._journal.folder, self._recorder.record(code, defect)
        if code in _RECORDED and folder is not None and record is not None:
            document = self._redactor.value(record.to_plain())
            with contextlib.suppress(OSError):  # a full disk
                write_whole(folder / RECORD_FILE, json.dumps(document).encode(), durable=False)

    def _turn(self) -> None:
        due = self._state.next_time()
        heartbeat = min(_HEARTBEAT, self._systemd.interval)
        wait = heartbeat if due is None else min(heartbeat, max(0.0, due - self._clock()))
        for event in self._arrived(wait):
            self._take(event)
        self._look_at_board()
        self._look_at_libraries()
        self._look_for_stall()
        if self._hub is not None:
            self._hub.idle = self._command.idle_for(self._clock())
        due = self._state.next_time()
        if due is not None and self._clock() >= due:
            self._take(events.Tick())
        self._systemd.turn(self._state, self._command.progress)

    def _arrived(self, wait: float) -> list[events.Event]:
        """All that happened meanwhile."""
        arrived: list[events.Event] = []
        with contextlib.suppress(queue.Empty):
            arrived.append(self._queue.get(timeout=wait))
            while True:
                arrived.append(self._queue.get_nowait())
        return events.in_order(arrived)

    def _take(self, event: events.Event) -> None:
        """What the machine has to know before it decides on the event comes first."""
        if isinstance(event, events.ChildExited):
            self._command.kill()  # what the guardian could not end
            self._look_at_board()
            self._pace.say(self._clock())
            self._command.forget(event, stopping=self._state.stopping is not None)
        if not self._state.begun:
            self._step(events.FolderSeen(only_here(self._settings.work_dir, self._settings.name) is not None))
        self._step(event)

    def _step(self, event: events.Event) -> None:
        phase, now = self._state.phase, self._clock()
        self._recorder.note(self._state, event, now)
        if isinstance(event, events.ChildExited) and not (self._state.bringing or self._needed.bringing):
            self._performer.clear_up()
        self._state, effects = table.step(self._state, event, now)
        if self._state.phase is not phase:
            deadline = self._state.deadline
            seconds = None if deadline is None else round(deadline - self._clock(), 3)
            self._say("phase", phase=self._state.phase.value, seconds_left=seconds)
        for effect in effects:
            self._performer.perform(effect, self._state)
        if self._restorer.uploader is not None:
            self._restorer.uploader.hurry(self._state.deadline)

    def _look_at_board(self) -> None:
        if not self._state.ended and self._command.has_progressed():
            self._pace.look(self._command.progress, self._clock())
            self._step(events.Progressed(self._command.progress.step))

    def _stand_by(self, spool: Spool, preload: Preload) -> None:
        """In the thread of the restore, while another machine has the run."""
        if self._settings.stand_by != "off" and preload.command == self._digest:
            self._command.stand_by(spool, preload)

    def _heard(self, message: wire.Message) -> None:
        """In the channel's thread."""
        if isinstance(message, wire.Hello) and message.pid == self._command.pid:
            self._preload = Preload.from_plain({**message.preload, "command": self._digest})
            self._restorer.remember_preload(self._preload)
        always = (
            self._settings.stand_by == "always" and isinstance(message, wire.PairSaved) and not self._state.stopping
        )
        if always and self._preload is not None and self._restorer.prepared is not None:
            self._command.stand_by(self._restorer.prepared.spool, self._preload)
        if isinstance(message, wire.PairWanted):
            self._needed.want(message)
            return
        if self._hub is not None:
            if isinstance(message, wire.Hello) and self._reports.connected:
                self._queue.put(events.CheckpointRefused(_SECOND_PROCESS))
                self._queue.put(events.GangBroken(_SECOND_PROCESS))
            self._hub.heard(0, message)
        self._reports.heard(message)

    def _look_at_libraries(self) -> None:
        seconds, state = self._command.look_at_libraries(self._clock()), self._state
        if state.rules.auto:
            why = self._command.unreached
            if why and not (state.seen_training or state.ended) and state.fault is None:
                self._step(events.TrainingNotServed(f"--auto: {why}"))
            return
        waits = state.phase is table.Phase.STARTING and state.warn_at is not None
        if waits and seconds >= _IMPORT_SECONDS and not self._reports.imported:
            self._step(events.NotImported(seconds))

    def _look_for_stall(self) -> None:
        """A command that waits for its pair does not hang."""
        if self._state.ended or self._state.bringing or self._needed.bringing:
            return
        seconds = self._command.stalled_for(self._clock())
        if seconds is not None:
            self._step(events.Stalled(seconds))

    def _close(self) -> None:
        if self._hub is not None:
            code = self._state.exit_code
            if code is not Exit.FENCED:  # else the members look for who has the run now
                self._hub.bye(Exit.FAILED if code is None else code, self._state.stopping or "")
            self._hub.close()
        for source in self._sources:
            source.stop()
        if self._restorer.uploader is not None:
            self._restorer.uploader.close()
        self._preparer.close()
        self._command.dismiss()
        self._channel.close()

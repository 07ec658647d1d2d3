"""The shell around core/machine/table.py: one queue, one blocking ``get``, effects performed, results
reported as events.

A signal handler puts a value into the queue and returns; threads do the same. Only this loop, in the main thread,
touches the state.
"""

from __future__ import annotations

import contextlib
import queue
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from ..core import wire
from ..core.errors import Exit
from ..core.machine import effects, events, table
from ..core.machine.last_line import FinalPairs, last_line
from ..core.manifest import CheckpointName
from ..core.redact import Redactor
from ..spool import LOG_FILE, Board, Progress, only_here
from ..store import Store
from .command.channel import Channel
from .command.child import Child
from .command.output import Tee
from .command.reaper import Ended, Reaper
from .command.stall import Stall, describe, measure
from .notices.watcher import Watcher
from .options import origin
from .report.journal import Journal
from .report.systemd import Systemd
from .reports import Reports
from .restore.prepare import Preparer
from .settings import RunSettings
from .start import Startup
from .upload.commit import store_pair

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_HEARTBEAT = 1.0
_LAST_WORDS = 5.0


class Supervisor:
    """Runs one command to its end. Use from the main thread, once."""

    def __init__(
        self,
        settings: RunSettings,
        store: Store,
        journal: Journal,
        watcher: Callable[[Callable[[events.Event], None]], Watcher],
        environment: Mapping[str, str],
        console: IO[bytes] | None,
        reaper: Reaper,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._store = store
        self._journal = journal
        self._environment = environment
        self._console = console
        self._clock = clock
        self._queue: queue.SimpleQueue[events.Event] = queue.SimpleQueue()
        self._state = table.State(rules=settings.rules)
        self._watcher = watcher(self._queue.put)
        self._redactor = Redactor(environment)
        self._origin = origin(settings.command, self._redactor)
        self._preparer = Preparer(
            settings,
            store,
            journal.event,
            journal.attach,
            store_pair,
            lambda who: self._queue.put(events.LeaseLost(who)),
            lambda: self._queue.put(events.OutOfTime()),
        )
        self._reports = Reports(journal.event, self._queue.put)
        self._startup = Startup(
            settings,
            store,
            journal.event,
            self._preparer,
            self._reports,
            self._queue.put,
            self._redactor,
            self._origin,
            clock,
        )
        self._channel = Channel(self._reports.heard, self._startup.welcome, self._startup.brought)
        self._reaper = reaper
        self._systemd = Systemd(environment, clock)
        journal.listen(self._systemd.heard)
        self._tee: Tee | None = None
        self._child: Child | None = None
        self._spawning = threading.Lock()
        self._stall: Stall | None = None
        self._orphans = 0
        self._executed = 0
        self._progress = Progress()

    def run(self) -> Exit:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited as ignored, it would hide every child's end
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup means what it says
                signal.signal(number, self._signalled)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # a container's entrypoint holds them back until now
        try:
            self._reaper.start(self._reaped)
            self._channel.start()
            self._watcher.start()
            self._systemd.ready()
            while not self._state.ended:
                self._turn()
        except Exception as error:  # the child must not go on alone, whatever it was
            self._journal.event("failed", f"a defect in holdfast, or a broken machine: {error!r}", warning=True)
            self._reaper.kill_tree()
            return Exit.FAILED
        finally:
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN)  # the exit code is decided
            self._close()
        assert self._state.exit_code is not None
        return self._state.exit_code

    # --- the loop --------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        due = self._state.next_time()
        heartbeat = min(_HEARTBEAT, self._systemd.interval)
        wait = heartbeat if due is None else min(heartbeat, max(0.0, due - self._clock()))
        for event in self._arrived(wait):
            self._step(event)
        self._look_at_board()
        self._look_for_stall()
        due = self._state.next_time()
        if due is not None and self._clock() >= due:
            self._step(events.Tick())
        self._systemd.turn(self._state, self._progress)

    def _arrived(self, wait: float) -> list[events.Event]:
        """All that happened meanwhile."""
        arrived: list[events.Event] = []
        with contextlib.suppress(queue.Empty):
            arrived.append(self._queue.get(timeout=wait))
            while True:
                arrived.append(self._queue.get_nowait())
        return events.in_order(arrived)

    def _step(self, event: events.Event) -> None:
        if isinstance(event, events.ChildExited):
            self._before_exit(event)
        phase = self._state.phase
        if not self._state.begun:
            seen = events.FolderSeen(only_here(self._settings.work_dir, self._settings.name) is not None)
            self._state, _ = table.step(self._state, seen, self._clock())
        self._state, todo = table.step(self._state, event, self._clock())
        if self._state.phase is not phase:
            deadline = self._state.deadline
            left = None if deadline is None else round(deadline - self._clock(), 3)
            self._journal.event("phase", phase=self._state.phase.value, seconds_left=left)
        for effect in todo:
            _PERFORM[type(effect)](self, effect)
        if self._startup.uploader is not None:
            self._startup.uploader.hurry(self._state.deadline)

    def _signalled(self, number: int, frame: object) -> None:
        if number == signal.SIGHUP:  # of one dropped session, the shell tells and the kernel too
            signal.signal(number, signal.SIG_IGN)
        self._queue.put(events.StopRequested(signal.Signals(number).name))

    def _look_at_board(self) -> None:
        prepared = self._startup.prepared
        if self._child is None or prepared is None or self._state.ended:
            return
        self._progress = progress = Board.read(prepared.spool.file(Board.FILE))
        if progress.executed > self._executed:
            self._executed = progress.executed
            self._step(events.Progressed(progress.step))

    def _look_for_stall(self) -> None:
        """A command that waits for its pair does not hang."""
        child, state = self._child, self._state
        if child is None or self._stall is None or state.ended or state.bringing:
            return
        seconds = self._stall.look(self._executed, self._clock(), lambda: measure(child.family()))
        if seconds is not None:
            self._step(events.Stalled(seconds))

    # --- what threads report ---------------------------------------------------------------------------------------

    def _reaped(self, pid: int, ended: Ended) -> None:
        """In the reaper's thread: let the child's last words come before the news of its end."""
        with self._spawning:  # one that is over at once may be reaped before it is known here
            child, tee = self._child, self._tee
        if child is None or pid != child.pid:
            self._orphans += 1
            return
        self._channel.wait_silent(_LAST_WORDS)
        if tee is not None:
            tee.finish()
        self._queue.put(events.ChildExited(ended.code, random.random(), child.describe(ended)))

    # --- effects ---------------------------------------------------------------------------------------------------

    def _restore(self, effect: effects.Restore) -> None:
        self._startup.start(effect)

    def _spawn(self, effect: effects.Spawn) -> None:
        assert self._startup.prepared is not None
        spool = self._startup.prepared.spool
        self._executed = Board.read(spool.file(Board.FILE)).executed
        environment = {
            "PYTHONUNBUFFERED": "1",
            **self._environment,
            wire.SOCKET_VARIABLE: str(self._channel.path),
            wire.RUN_DIR_VARIABLE: str(spool.path.absolute()),
        }
        self._reports.stacks = None
        self._stall = Stall(self._settings.stall_timeout) if self._settings.stall_timeout else None
        with self._spawning:
            self._tee = Tee(spool.file(LOG_FILE), self._console)
            self._child = Child(self._settings.command, environment, self._tee.write_end)
            self._reaper.expect()
            self._tee.start()
        self._journal.event("started", pid=self._child.command, command=self._origin["command"])
        self._queue.put(events.Spawned(self._child.command))

    def _before_exit(self, event: events.ChildExited) -> None:
        self._reaper.kill_tree()  # whatever the guardian could not end
        self._look_at_board()
        lines = self._tee.last_lines() if self._tee is not None else []
        failed = event.code not in (0, Exit.STOPPED) and self._state.stopping is None
        unseen = failed and self._tee is not None and not self._tee.seen
        text = "the command's last lines:\n  " + "\n  ".join(lines) if unseen and lines else ""
        orphans, self._orphans = self._orphans + (self._child.orphans if self._child is not None else 0), 0
        self._journal.event(
            "exited",
            text,
            code=event.code,
            how=event.how,
            executed=self._executed,
            orphans=orphans,
            last_lines=lines,
        )
        if self._child is not None:
            self._child.close()
        self._child = None

    def _ask_save(self, effect: effects.AskSave) -> None:
        self._channel.send(wire.Save(effect.reason))

    def _ask_stop(self, effect: effects.AskStop) -> None:
        if not self._channel.send(wire.Stop(effect.reason)):
            self._terminate(effects.Terminate())

    def _dump_stacks(self, effect: effects.DumpStacks) -> None:
        if self._child is None:
            return
        processes = describe(self._child.tree())
        stacks = self._reports.stacks
        asked = 0 if stacks is None else self._child.dump_stacks(stacks.pid, stacks.signal)
        self._journal.event("stacks", processes=processes, asked=asked)

    def _terminate(self, effect: effects.Terminate) -> None:
        if self._child is not None:
            self._child.terminate()

    def _kill(self, effect: effects.Kill) -> None:
        self._reaper.kill_tree()

    def _upload(self, effect: effects.Upload) -> None:
        name = CheckpointName.parse(effect.name)
        if name is not None and self._startup.uploader is not None:
            self._startup.uploader.add(name)

    def _drop_uploads(self, effect: effects.DropUploads) -> None:
        if self._startup.uploader is not None:
            self._startup.uploader.drop()

    def _scan_spool(self, effect: effects.ScanSpool) -> None:
        """Pairs whose news did not arrive before the child died."""
        prepared, uploader = self._startup.prepared, self._startup.uploader
        assert prepared is not None
        assert uploader is not None
        try:
            pairs = prepared.spool.pairs()
        except OSError as error:
            self._queue.put(events.PairLost("what was in the work dir", str(error)))
            pairs = []
        mine = (n for n in pairs if n.incarnation == prepared.incarnation)
        self._queue.put(events.SpoolScanned(frozenset(str(n) for n in mine if n not in uploader.settled)))

    def _finalize(self, effect: effects.Finalize) -> None:
        uploader = self._startup.uploader
        assert uploader is not None
        if effect.complete and self._startup.resume is None and not uploader.settled:
            text = "the command stored no checkpoint: does the script use holdfast.Resume? (--extend runs it again)"
            self._journal.event("no-checkpoint", text, warning=True)
        uploader.finalize(effect.complete)

    def _say(self, effect: effects.Say) -> None:
        self._journal.event(effect.kind, effect.text, warning=effect.warning)

    def _exit_with(self, effect: effects.ExitWith) -> None:
        text = last_line(effect.code, self._state, self._final_pairs())
        self._journal.event("exit", text, code=int(effect.code))

    def _final_pairs(self) -> FinalPairs:
        prepared, uploader = self._startup.prepared, self._startup.uploader
        here = only_here(self._settings.work_dir, self._settings.name)
        return FinalPairs(
            pairs=bool((prepared and prepared.found.newest_first) or (uploader and uploader.settled)),
            here=CheckpointName.parse(here.name) if here else None,
        )

    # --- odds and ends ---------------------------------------------------------------------------------------------

    def _close(self) -> None:
        self._watcher.stop()
        if self._startup.uploader is not None:
            self._startup.uploader.close()
        self._preparer.close()
        self._channel.close()


_PERFORM: dict[type[Any], Callable[[Supervisor, Any], None]] = {
    effects.Restore: Supervisor._restore,
    effects.Spawn: Supervisor._spawn,
    effects.AskSave: Supervisor._ask_save,
    effects.AskStop: Supervisor._ask_stop,
    effects.DumpStacks: Supervisor._dump_stacks,
    effects.Terminate: Supervisor._terminate,
    effects.Kill: Supervisor._kill,
    effects.Upload: Supervisor._upload,
    effects.DropUploads: Supervisor._drop_uploads,
    effects.ScanSpool: Supervisor._scan_spool,
    effects.Finalize: Supervisor._finalize,
    effects.Say: Supervisor._say,
    effects.ExitWith: Supervisor._exit_with,
}

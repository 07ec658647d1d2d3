"""The command that is supervised, from start to start: its process, its output and the progress that it notes."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ...core import wire
from ...core.errors import Exit
from ...core.event_sink import ByteSink, EventSink
from ...core.machine.crash_signature import failure_in
from ...core.machine.events import ChildExited
from ...core.preload import Preload
from ...spool import LOG_FILE, Board, Progress, Spool
from .channel import Channel
from .child import Child
from .isolation import is_own_python
from .output import Tee
from .reaper import Ended, Reaper
from .stall import IdleTime, Stall, describe, measure
from .standby import Standby, can_stand_by, order
from .tensorflow_watch import TensorFlowWatch

_LAST_WORDS = 5.0
_PYTHON_MARK, _KERAS_MARK = "python", "keras"  # left by auto/hook.py
_TRACEBACK = 60  # lines
_UNCAUGHT, _SWALLOWED = 1, 0  # how Python ends for an exception that nobody caught, and a pipeline whose first part did


class TrainingCommand:
    """Call from the main thread; ``on_exit`` is called in the reaper's.

    ``words`` is the command, ``shown`` the same without secrets. ``stall_timeout`` is in seconds; 0 for never.
    ``hook`` is the folder that ``--auto`` has put on PYTHONPATH, '' without it.
    ``progress`` is what was last read from the board.
    """

    def __init__(
        self,
        words: Sequence[str],
        shown: Sequence[str],
        environment: Mapping[str, str],
        console: ByteSink | None,
        stall_timeout: float,
        hook: str,
        reaper: Reaper,
        channel: Channel,
        say: EventSink,
        on_exit: Callable[[ChildExited], None],
    ) -> None:
        self._words = words
        self._shown = shown
        self._environment = environment
        self._console = console
        self._stall_timeout = stall_timeout
        self._hook = hook
        self._reaper = reaper
        self._channel = channel
        self._say = say
        self._on_exit = on_exit
        self._spawning = threading.Lock()
        self._spool: Spool | None = None
        self._child: Child | None = None
        self._tee: Tee | None = None
        self._standby: Standby | None = None
        self._alone = False  # nothing stands by any more
        self._stall: Stall | None = None
        self._idle = IdleTime()
        self._library = TensorFlowWatch(hook, channel.path.parent)
        self._orphans = 0
        self._executed = 0
        self.progress = Progress()

    def watch(self) -> None:
        """Waits for children from now on."""
        self._reaper.start(self._reaped)

    @property
    def pid(self) -> int:
        """The command's; 0 where none runs."""
        child = self._child
        return 0 if child is None else child.command

    def stand_by(self, spool: Spool, preload: Preload) -> None:
        """Starts its interpreter, which imports the packages and waits. In any thread; where it cannot be, not."""
        with self._spawning, contextlib.suppress(OSError, RuntimeError):
            if self._standby is not None or self._alone or not can_stand_by(self._words, self._environment):
                return
            standby = Standby(*self._spawn(spool, order(preload), waits=True))
            if standby.child.command == standby.child.pid:  # it was too slow to say its pid
                standby.child.close()
                return
            self._standby = standby
            self._say("standing-by", pid=standby.child.command, packages=list(preload.packages))

    def start(self, spool: Spool, more: Mapping[str, str] | None = None) -> int:
        """``more`` is added to its environment, for this start. Returns its pid.

        Raises OSError or RuntimeError if it cannot be started now.
        """
        self._spool = spool
        self.progress = Board.read(spool.file(Board.FILE))
        self._executed = self.progress.executed
        self._stall = Stall(self._stall_timeout) if self._stall_timeout else None
        self._idle = IdleTime()
        self._library = TensorFlowWatch(self._hook, self._channel.path.parent)
        with self._spawning:
            standby, self._standby = self._standby, None
            if standby is None:
                self._child, self._tee = self._spawn(spool, more)
            else:
                self._child, self._tee = standby.child, standby.tee
                self._child.begins()
                self._tee.begin()
                self._channel.let_begin(standby.child.command)
        self._say(
            "started",
            pid=self._child.command,
            command=self._shown,
            executed=self._executed,
            validated=round(self.progress.validated, 3),
        )
        return self._child.command

    def _spawn(self, spool: Spool, more: Mapping[str, str] | None = None, waits: bool = False) -> tuple[Child, Tee]:
        """``waits``: what it prints belongs to the log of a start that is to come."""
        environment = {
            "PYTHONUNBUFFERED": "1",
            **self._environment,
            wire.SOCKET_VARIABLE: str(self._channel.path),
            wire.RUN_DIR_VARIABLE: str(spool.path.absolute()),
            **(more or {}),
        }
        tee = Tee(spool.file(LOG_FILE), self._console, waits=waits)
        tee.start()
        try:
            return Child(self._words, environment, tee.write_end), tee
        finally:
            tee.handed_over()
            self._reaper.expect()

    def training_process_ended(self) -> None:
        """In the channel's thread. What is written from now on is another process's."""
        with self._spawning:
            tee = self._tee
        if tee is not None:
            tee.mark()

    def has_progressed(self) -> bool:
        """Reads the board: was a batch executed since the last call?"""
        if self._child is None or self._spool is None:
            return False
        self.progress = Board.read(self._spool.file(Board.FILE))
        before, self._executed = self._executed, max(self._executed, self.progress.executed)
        self._library.over |= self._executed > before  # what it trains is known
        return self._executed > before

    def look_at_libraries(self, now: float) -> float:
        """The seconds since it has loaded TensorFlow; negative if it has not."""
        if self._child is None:
            return -1.0
        self._library.look(now, self._child.tree)
        return self._library.seen_for(now)

    @property
    def unreached(self) -> str:
        """Why ``--auto`` reaches no process that has loaded TensorFlow; '' where none has, or one is reached."""
        return self._library.unreached

    def stalled_for(self, now: float) -> float | None:
        """The seconds without a sign of life, once they are too many."""
        child = self._child
        if child is None or self._stall is None:
            return None
        return self._stall.look(self._executed, now, lambda: measure(child.family()))

    def idle_for(self, now: float) -> float:
        """The seconds without a batch, CPU and bytes."""
        child = self._child
        return 0.0 if child is None else self._idle.look(self._executed, now, lambda: measure(child.family()))

    def terminate(self) -> None:
        """SIGTERM to the command's tree."""
        if self._child is not None:
            self._child.terminate()

    def kill(self) -> None:
        """SIGKILL to everything that the command started, its guardian included. What stands by is left."""
        standby = self._standby
        self._reaper.kill_tree(spare=0 if standby is None else standby.child.pid)

    def dismiss(self) -> None:
        """Ends an interpreter that stands by for nothing."""
        with self._spawning:
            self._alone = True
            if self._standby is not None:
                self._standby.child.close()  # its guardian ends it

    def dump_stacks(self, by: wire.StacksBy | None) -> None:
        """Reports the processes of the tree, and has them write their stacks to the log; ``by`` says how."""
        if self._child is None:
            return
        processes = describe(self._child.tree())
        asked = 0 if by is None else self._child.dump_stacks(by.pid, by.signal)
        self._say("stacks", processes=processes, asked=asked)

    def forget(self, event: ChildExited, stopping: bool) -> None:
        """Reports its end. A failure that nobody asked for is shown with its last lines, if no console showed them."""
        lines = self._tee.last_lines() if self._tee is not None else []
        failed = event.code not in (0, Exit.STOPPED) and not stopping
        unseen = failed and self._tee is not None and not self._tee.seen
        text = "the command's last lines:\n  " + "\n  ".join(lines) if unseen and lines else ""
        orphans, self._orphans = self._orphans + (self._child.orphans if self._child is not None else 0), 0
        self._say(
            "exited",
            text,
            code=event.code,
            how=event.how,
            executed=self._executed,
            validated=round(self.progress.validated, 3),
            orphans=orphans,
            last_lines=lines,
        )
        if self._child is not None:
            self._child.close()
        self._child = None

    def _reaped(self, pid: int, ended: Ended) -> None:
        """In the reaper's thread. What the training process sent before its end is passed on before its end is."""
        with self._spawning:  # one that is over at once may be reaped before it is known here
            child, tee = self._child, self._tee
            if self._standby is not None and pid == self._standby.child.pid:
                self._standby, self._alone = None, True  # the command is started without it, and without another
                return
        if child is None or pid != child.pid:
            self._orphans += 1
            return
        self._channel.wait_silent(_LAST_WORDS)
        if tee is not None:
            tee.finish()
        may_show = ended.code in (_UNCAUGHT, _SWALLOWED)
        failure = failure_in(tee.last_lines(_TRACEBACK)) if may_show and tee is not None else None
        later = failure is not None and tee is not None and failure_in(tee.lines_since_mark(_TRACEBACK)) == failure
        how, left, library = child.describe(ended), child.left_running, self._library.seen
        python, keras = map(self._channel.has_mark, (_PYTHON_MARK, _KERAS_MARK))
        ending = ChildExited(ended.code, random.random(), how, failure, later, left, library, child.signalled)
        own = is_own_python(self._words, self._environment)
        stood_by = self._channel.never_began(child.command)
        self._on_exit(replace(ending, python=python, keras=keras, own_python=own, stood_by=stood_by))

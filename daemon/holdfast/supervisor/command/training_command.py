"""The command that is supervised, from start to start: its process, its output and the progress that it notes."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from ...core import wire
from ...core.crash_signature import failure_in
from ...core.errors import Exit
from ...core.event_sink import EventSink
from ...core.machine.events import ChildExited
from ...spool import LOG_FILE, Board, Progress, Spool
from .channel import Channel
from .child import Child
from .library import LibraryWatch
from .output import Tee
from .reaper import Ended, Reaper
from .stall import Stall, describe, measure

_LAST_WORDS = 5.0
_TRACEBACK = 60  # lines
_UNCAUGHT, _SWALLOWED = 1, 0  # how Python ends for an exception that nobody caught, and a pipeline whose first part did


class TrainingCommand:
    """Call from the main thread; ``on_exit`` is called in the reaper's.

    ``words`` is the command, ``shown`` the same without secrets. ``stall_timeout`` is in seconds; 0 for never.
    ``progress`` is what was last read from the board.
    """

    def __init__(
        self,
        words: Sequence[str],
        shown: Sequence[str],
        environment: Mapping[str, str],
        console: IO[bytes] | None,
        stall_timeout: float,
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
        self._reaper = reaper
        self._channel = channel
        self._say = say
        self._on_exit = on_exit
        self._spawning = threading.Lock()
        self._spool: Spool | None = None
        self._child: Child | None = None
        self._tee: Tee | None = None
        self._stall: Stall | None = None
        self._library = LibraryWatch()
        self._orphans = 0
        self._executed = 0
        self.progress = Progress()

    def watch(self) -> None:
        """Waits for children from now on."""
        self._reaper.start(self._reaped)

    def start(self, spool: Spool) -> int:
        """Returns the command's pid. Raises OSError or RuntimeError if it cannot be started now."""
        self._spool = spool
        self._executed = Board.read(spool.file(Board.FILE)).executed
        environment = {
            "PYTHONUNBUFFERED": "1",
            **self._environment,
            wire.SOCKET_VARIABLE: str(self._channel.path),
            wire.RUN_DIR_VARIABLE: str(spool.path.absolute()),
        }
        self._stall = Stall(self._stall_timeout) if self._stall_timeout else None
        self._library = LibraryWatch()
        with self._spawning:
            self._tee = tee = Tee(spool.file(LOG_FILE), self._console)
            tee.start()
            try:
                self._child = Child(self._words, environment, tee.write_end)
            finally:
                tee.handed_over()
                self._reaper.expect()
        self._say("started", pid=self._child.command, command=self._shown)
        return self._child.command

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

    def look_at_libraries(self, now: float) -> None:
        if self._child is not None:
            self._library.look(now, self._child.tree)

    def stalled_for(self, now: float) -> float | None:
        """The seconds without a sign of life, once they are too many."""
        child = self._child
        if child is None or self._stall is None:
            return None
        return self._stall.look(self._executed, now, lambda: measure(child.family()))

    def terminate(self) -> None:
        """SIGTERM to the command's tree."""
        if self._child is not None:
            self._child.terminate()

    def kill(self) -> None:
        """SIGKILL to everything that the command started, its guardian included."""
        self._reaper.kill_tree()

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
        if child is None or pid != child.pid:
            self._orphans += 1
            return
        self._channel.wait_silent(_LAST_WORDS)
        if tee is not None:
            tee.finish()
        may_show = ended.code in (_UNCAUGHT, _SWALLOWED)
        failure = failure_in(tee.last_lines(_TRACEBACK)) if may_show and tee is not None else None
        later = failure is not None and tee is not None and failure_in(tee.lines_since_mark(_TRACEBACK)) == failure
        how, left = child.describe(ended), child.left_running
        self._on_exit(ChildExited(ended.code, random.random(), how, failure, later, left, self._library.seen))

"""A command beside the training, as that of --on-complete: in a session of its own, reaped by the one reaper."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
from collections.abc import Mapping, Sequence

from .reaper import Ended, Reaper

_DEFAULTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ)


class SideCommand:
    """Starts at once, found by PATH and without a shell; raises OSError if it cannot.

    From now on the reaper reports to this command only. All ends are queued before the command's own is picked out: it
    may be gone before its pid is known here.
    """

    def __init__(self, reaper: Reaper, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self._ends: queue.SimpleQueue[tuple[int, Ended]] = queue.SimpleQueue()
        self._ended: Ended | None = None
        reaper.start(lambda pid, ended: self._ends.put((pid, ended)))
        self.pid = os.posix_spawnp(
            words[0],
            list(words),
            environment,
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            setsid=True,
            setsigmask=[],
            setsigdef=_DEFAULTS,
        )
        reaper.expect()

    def poll(self) -> Ended | None:
        """How it ended; None while it runs."""
        with contextlib.suppress(queue.Empty):
            while self._ended is None:
                pid, ended = self._ends.get_nowait()
                self._ended = ended if pid == self.pid else None
        return self._ended

    def signal(self, number: int) -> None:
        """To all of its group, also after its own end."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

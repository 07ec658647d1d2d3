"""``--on-notice``: a command that is run at each interruption notice, beside the drain."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import shutil
import signal
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ...core.errors import SettingsError
from ...core.event_sink import EventSink
from ...core.view import notice_kind
from .reaper import Ended, Reaper

COMMAND_TIME = 30.0
_LAST_SECONDS = 5.0
_TERM_TIME = 2.0
_LOOK = 0.1
_DEFAULTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGXFSZ)


def check_command(setting: str, text: str) -> tuple[str, ...]:
    """The words of a command. Raises SettingsError unless it exists."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise SettingsError(f"{setting} {text!r}: {error}; give a command") from None
    if not words or shutil.which(words[0]) is None:
        raise SettingsError(f"{setting} {text!r}: there is no such command; give one that can be executed")
    return words


class NoticeHook:
    """Runs ``words`` in a thread of its own, once for each notice, one after the other.

    A command has ``patience`` seconds, and 5 after all else has ended; then it gets SIGTERM, and SIGKILL 2 s later.
    Nothing but ``close`` waits for it.
    """

    def __init__(
        self,
        words: tuple[str, ...],
        run: str,
        environment: Mapping[str, str],
        reaper: Reaper,
        say: EventSink,
        patience: float = COMMAND_TIME,
    ) -> None:
        self._words = words
        self._run_name = run
        self._environment = environment
        self._reaper = reaper
        self._say = say
        self._patience = patience
        self._queue: queue.SimpleQueue[Mapping[str, str] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="on-notice", daemon=True)
        self._thread.start()

    def heard(self, kind: str, event: Mapping[str, Any]) -> None:
        """A listener of the journal's."""
        if kind == "notice":
            self._queue.put({"HOLDFAST_RUN": self._run_name, **facts_of(event)})

    def close(self) -> None:
        self._closing.set()
        self._queue.put(None)
        self._thread.join(_LAST_SECONDS + 3 * _TERM_TIME)

    def _work(self) -> None:
        while (facts := self._queue.get()) is not None:
            self._run({**self._environment, **facts})

    def _run(self, environment: Mapping[str, str]) -> None:
        ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        try:
            pid = self._reaper.start_beside(lambda: _spawn(self._words, environment), ends.put)
        except OSError as error:
            self._say("on-notice-failed", f"--on-notice {self._words[0]}: {error.strerror}", warning=True)
            return
        ended = self._wait(ends)
        if ended is not None and ended.code == 0:
            self._say("on-notice", f"ran {self._words[0]} (--on-notice)")
            return
        problem = f"{self._words[0]} took too long and was ended"
        if ended is not None:
            problem = f"{self._words[0]} failed ({ended.describe()})"
        for number in (signal.SIGTERM, signal.SIGKILL):
            if ended is None:
                _signal_group(pid, number)
                ended = _end(ends, _TERM_TIME)
        self._say("on-notice-failed", f"--on-notice: {problem}", warning=True)

    def _wait(self, ends: queue.SimpleQueue[Ended]) -> Ended | None:
        until, ended = time.monotonic() + self._patience, None
        while ended is None and time.monotonic() < until:
            ended = _end(ends, _LOOK)
            if self._closing.is_set():
                until = min(until, time.monotonic() + _LAST_SECONDS)
                return ended or _end(ends, max(0.0, until - time.monotonic()))
        return ended


def facts_of(event: Mapping[str, Any]) -> dict[str, str]:
    """What the command's environment says of a notice; empty where it is unknown."""
    seconds = event.get("seconds")
    deadline = ""
    if seconds is not None:
        with contextlib.suppress(OverflowError):
            at = datetime.fromisoformat(event["at"]) + timedelta(seconds=seconds)
            deadline = at.isoformat(timespec="seconds")
    return {
        "HOLDFAST_NOTICE": str(event["what"]),
        "HOLDFAST_NOTICE_KIND": notice_kind(str(event["what"])),
        "HOLDFAST_NOTICE_SECONDS": "" if seconds is None else f"{seconds:.0f}",
        "HOLDFAST_NOTICE_DEADLINE": deadline,
    }


def _spawn(words: tuple[str, ...], environment: Mapping[str, str]) -> int:
    """In this session, as what is not the training, and in a group of its own."""
    return os.posix_spawnp(
        words[0],
        list(words),
        environment,
        file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        setpgroup=0,
        setsigmask=[],
        setsigdef=_DEFAULTS,
    )


def _end(ends: queue.SimpleQueue[Ended], seconds: float) -> Ended | None:
    with contextlib.suppress(queue.Empty):
        return ends.get(timeout=seconds)
    return None


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)

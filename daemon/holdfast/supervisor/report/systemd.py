"""Notifications for systemd: READY, STATUS, WATCHDOG, STOPPING and EXTEND_TIMEOUT_USEC (sd_notify(3)).

The protocol is one datagram to the socket that NOTIFY_SOCKET names, so no library is needed. Without that variable
nothing is sent.

READY is said when signals are handled and notices are watched, before anything is restored: from then on a stop is
served, and waiting for a lease or for a notice to pass can take longer than any start timeout. WATCHDOG comes from the
main loop and from no thread of its own, so a loop that hangs is noticed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from ...core.errors import EXIT_MEANINGS
from ...core.machine.table import Phase, State
from ...core.view import Course
from ...core.wording import count
from ...spool import Progress

_STATUS_EVERY = 5.0
_EXTENSION = 20.0
_EXTEND_EVERY = 0.5
_LAST_STEPS = 5.0
_SEND_SECONDS = 0.5


class Systemd:
    """Tells the service manager how the supervisor is. Silent where there is none.

    ``heard`` is a listener of the journal; ``turn`` belongs into the main loop, every ``interval`` seconds or more
    often. An extension that is not renewed for 20 s lapses: a supervisor that hangs in a drain is ended then.
    """

    def __init__(
        self, environment: Mapping[str, str], clock: Callable[[], float] = time.monotonic, pid: int | None = None
    ) -> None:
        self._socket = _connect(environment.get("NOTIFY_SOCKET", ""))
        self._clock = clock
        self._watchdog = _watchdog(environment, os.getpid() if pid is None else pid)
        self._fed_at = -float("inf")
        self._extended_at = -float("inf")
        self._said = ""
        self._said_at = -float("inf")
        self._phase: Phase | None = None
        self._stopping = False
        self._course = Course()
        self._stored_at: float | None = None
        self._last_line = ""

    @property
    def interval(self) -> float:
        """The longest time in seconds between two calls of ``turn``: a quarter of the watchdog's patience."""
        return self._watchdog / 4

    def ready(self) -> None:
        self._send("READY=1")

    def heard(self, kind: str, facts: Mapping[str, Any]) -> None:
        if kind in ("training-began", "progress"):
            self._course = Course.of(facts)
        elif kind == "stored":
            self._stored_at = self._clock()
        elif kind == "exit":
            self._last_line = facts["text"]

    def turn(self, state: State, progress: Progress) -> None:
        if self._socket is None:
            return
        now = self._clock()
        lines = [*self._stop(state, now), *self._feed(now), *self._status(state, progress, now)]
        if lines:
            self._send("\n".join(lines))

    def ending(self) -> None:
        """Call all the time while the machine is given back, or a command follows the end: that has bounds of its own.

        It may come before READY or in a stop, so the timeout of either is extended. STOPPING is not said: from then on
        systemd would keep a ``systemctl stop`` to itself.
        """
        now = self._clock()
        lines = self._feed(now)
        if now - self._extended_at >= _EXTEND_EVERY:
            self._extended_at = now
            lines.append(f"EXTEND_TIMEOUT_USEC={int(_EXTENSION * 1e6)}")
        if lines:
            self._send("\n".join(lines))

    def _stop(self, state: State, now: float) -> list[str]:
        """A drain without a deadline is none that systemd waits for: the training ended by itself."""
        if state.deadline is None or state.phase not in (Phase.DRAINING, Phase.FLUSHING):
            return []
        lines = [] if self._stopping else ["STOPPING=1"]
        self._stopping = True
        left = min(_EXTENSION, state.deadline + _LAST_STEPS - now)
        return [*lines, f"EXTEND_TIMEOUT_USEC={int(left * 1e6)}"] if left > 0 else lines

    def _feed(self, now: float) -> list[str]:
        if now - self._fed_at < self._watchdog / 2:
            return []
        self._fed_at = now
        return ["WATCHDOG=1"] if self._watchdog < float("inf") else []

    def _status(self, state: State, progress: Progress, now: float) -> list[str]:
        text = self._last_line or status(
            state, progress, self._course, None if self._stored_at is None else now - self._stored_at, now
        )
        soon = state.phase is self._phase and now - self._said_at < _STATUS_EVERY
        if soon or text == self._said:
            return []
        self._phase, self._said, self._said_at = state.phase, text, now
        return [f"STATUS={' '.join(text.split())}"]  # a line break would begin another field

    def _send(self, text: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):  # a manager that restarts, or does not read, must not stop the training
                self._socket.send(text.encode())


def status(state: State, progress: Progress, course: Course, stored_ago: float | None, now: float) -> str:
    """One line for ``systemctl status``. ``stored_ago``: seconds since the newest pair came to the store."""
    if state.ended:
        assert state.exit_code is not None
        return f"exit {int(state.exit_code)}: {EXIT_MEANINGS[state.exit_code]}"
    where = course.text(progress.epoch, progress.batch)
    stored = "nothing stored yet" if stored_ago is None else f"last stored {stored_ago:.0f} s ago"
    return {
        Phase.RESTORING: f"waiting: {state.notice.what}" if state.notice else "restoring",
        Phase.STARTING: "starting the command",
        Phase.RUNNING: f"{where}, {stored}",
        Phase.DRAINING: f"draining ({state.stopping or 'finishing'}){_left(state.deadline, now)}: {where}, {stored}",
        Phase.FLUSHING: f"storing what is left{_left(state.deadline, now)}: {count(len(state.owed), 'pair')}",
        Phase.BACKOFF: f"the command failed; starting it again{_left(state.retry_at, now, 'in')}",
    }[state.phase]


def _left(at: float | None, now: float, word: str = "") -> str:
    if at is None:
        return ""
    seconds = f"{max(0.0, at - now):.0f} s"
    return f" {word} {seconds}" if word else f", {seconds} left"


def is_journal(stream: IO[str] | None, environment: Mapping[str, str]) -> bool:
    """Does ``stream`` end in systemd's journal?"""
    with contextlib.suppress(OSError, ValueError):  # closed, or no real file
        if stream is not None:
            found = os.fstat(stream.fileno())
            return environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
    return False


def _connect(address: str) -> socket.socket | None:
    if not address.startswith(("/", "@")):
        return None
    link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    link.settimeout(_SEND_SECONDS)
    try:
        link.connect("\0" + address[1:] if address.startswith("@") else address)  # "@": the abstract namespace
    except OSError:
        link.close()
        return None
    return link


def _watchdog(environment: Mapping[str, str], pid: int) -> float:
    """Seconds after which a silent service is restarted; infinite unless it is this process that is watched."""
    usec = environment.get("WATCHDOG_USEC", "")
    watched = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    return int(usec) / 1e6 if usec.isdecimal() and int(usec) and watched else float("inf")

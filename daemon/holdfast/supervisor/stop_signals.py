"""The signals that ask the supervisor to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def listen(asked: Callable[[str], None]) -> None:
    """From now on ``asked`` is called with the name of each, in a signal handler: it may only put it into a queue."""

    def handle(number: int, frame: object) -> None:
        if number == signal.SIGHUP:  # the shell and the kernel both send one when a session is dropped
            signal.signal(number, signal.SIG_IGN)
        asked(signal.Signals(number).name)

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited as ignored, it would hide every child's end
    for number in _SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup means what it says
            signal.signal(number, handle)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # a container's entrypoint holds them back until now


def ignore() -> None:
    """The exit code is decided."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)

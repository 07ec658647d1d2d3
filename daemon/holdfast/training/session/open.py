"""The process's one session: under a supervisor where the environment names one, else in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...core.policy import Retention
from ...core.wire import RUN_DIR_VARIABLE, SOCKET_VARIABLE
from . import detect_unprotected
from .base import Session
from .standalone import open_standalone
from .supervised import connect

DEFAULT_DIRECTORY = "runs"

_open: Session | None = None
_at_close: list[Callable[[], None]] = []


def open_session(directory: str | os.PathLike[str] | None = None, keep: int = 5, epochs: int | None = None) -> Session:
    """The process's session; the same one for every call. ``epochs`` is how far this training means to go.

    Raises SettingsError if ``keep`` is not a positive number of pairs.
    """
    global _open
    pairs = Retention.of(keep)
    if _open is None:
        detect_unprotected.has_session()
        address = os.environ.get(SOCKET_VARIABLE)
        _open = connect(address) if address else open_standalone(Path(directory or DEFAULT_DIRECTORY), pairs, epochs)
    return _open


def close_session() -> None:
    """Ends this process's part in its run, so that it can begin another (in a notebook, say).

    Without a supervisor, a run whose training is over is complete then.
    """
    global _open
    for function in _at_close:
        function()
    if _open is not None:
        _open.close()
        _open = None


def at_close(function: Callable[[], None]) -> None:
    """``close_session`` calls the function. For what a module of ``training/data`` counts from a start on."""
    _at_close.append(function)


def run_dir() -> Path:
    """The run's own folder on this machine.

    Under the supervisor this needs no session; without one it opens the session in ``./runs``.
    """
    given = os.environ.get(RUN_DIR_VARIABLE)
    return Path(given) if given else open_session().spool.path

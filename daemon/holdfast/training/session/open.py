"""The process's one session: under a supervisor where the environment names one, else in a folder of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from ...core.artifacts import FOLDER
from ...core.policy import Retention
from ...core.wire import RUN_DIR_VARIABLE, SOCKET_VARIABLE
from . import detect_unprotected
from .base import FIT, LOOP, Session
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
        detect_unprotected.has_session(_say_of_later_fit)
        address = os.environ.get(SOCKET_VARIABLE)
        _open = connect(address) if address else open_standalone(Path(directory or DEFAULT_DIRECTORY), pairs, epochs)
    return _open


def _say_of_later_fit(text: str) -> None:
    """Not where a loop is what calls it: that has arrays of its own to commit."""
    if _open is not None and _open.claimed_by == FIT:
        _open.say(text)


def loop_under_way() -> Session | None:
    """The process's session, while a loop of ``holdfast.session`` trains."""
    return _open if _open is not None and _open.claimed_by == LOOP and _open.unfinished else None


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
    """The run's own folder on this machine, with the folder ``artifacts`` in it.

    Under the supervisor this needs no session; without one it opens the session in ``./runs``.
    """
    given = os.environ.get(RUN_DIR_VARIABLE)
    return with_artifacts(Path(given) if given else open_session().spool.path)


def with_artifacts(folder: Path) -> Path:
    """The run's folder, and in it the one that a script's own files go to."""
    with contextlib.suppress(OSError):  # a full disk, say: the script learns of it when it writes there
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    return folder

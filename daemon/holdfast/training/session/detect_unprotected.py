"""Sees a ``fit`` that runs under ``holdfast run`` without a session: nothing of it is saved. Loads no framework.

Nothing of Keras is changed for it: a thread looks at the stacks of the others until there is a session.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from types import FrameType

from ...core.wire import SOCKET_VARIABLE, Unprotected, encode

_LOOK_EVERY = 0.25
_MOST_LOOKS = 2
_PATIENCE = 2.0
_SAID = (
    "{what} without a holdfast session: nothing of it is saved, and a stop loses all of it. "
    "Add holdfast.Resume() to the callbacks of fit, or use holdfast.session() in a loop"
)
_protected = threading.Event()
_reported = threading.Event()


def watch() -> None:
    """Once for a process under a supervisor."""
    threading.Thread(target=_watch, name="holdfast-unprotected", daemon=True).start()


def has_session() -> None:
    """From now on there is nothing to look for."""
    _protected.set()


def pass_begins(number: int) -> None:
    """A pass through a ``holdfast.dataset`` begins. The third one outside of ``fit`` is taken for a training loop's:
    one or two may be a look at the data, or the adaptation of a layer.
    """
    if SOCKET_VARIABLE in os.environ and not _protected.is_set():
        _look() or (number >= _MOST_LOOKS and _report("holdfast.dataset is read again and again"))


def _watch() -> None:
    while not _protected.wait(_LOOK_EVERY) and not _reported.is_set():
        _look()


def _look() -> bool:
    """Is a ``fit`` running its epochs now?"""
    if "keras" not in sys.modules and "tf_keras" not in sys.modules:
        return False
    found = any(_trains(frame) for frame in sys._current_frames().values())
    if found and not _protected.is_set():
        _report("this command trains a Keras model")
    return found


def _trains(frame: FrameType | None) -> bool:
    """``fit`` makes a list object of its callbacks, and with that Resume opens its session. Then it trains."""
    while frame is not None:
        if frame.f_code.co_name == "fit" and "keras" in frame.f_code.co_filename:
            return hasattr(frame.f_locals.get("callbacks"), "on_train_begin")
        frame = frame.f_back
    return False


def _report(what: str) -> bool:
    if not _reported.is_set():
        _reported.set()
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as stream:
            stream.connect(os.environ.get(SOCKET_VARIABLE, ""))
            stream.settimeout(_PATIENCE)
            stream.sendall(encode(Unprotected(_SAID.format(what=what))))
            stream.recv(1)  # it hangs up once it knows: this process may be about to end
    return True

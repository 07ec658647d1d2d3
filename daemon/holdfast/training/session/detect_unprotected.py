"""Sees a ``fit`` under ``holdfast run`` that has no session, or no Resume where another one has it: nothing of it is
saved. Loads no framework.

The hook that each interpreter of a command gets (auto/hook.py) calls ``fit_runs`` around a ``fit``. (A thread that
looks at other threads' stacks would need no hook. But CPython may crash of that while those run.)
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...core.wire import SOCKET_VARIABLE, Imported, Unprotected, encode

_SOON, _LATER = 1.0, 5.0  # seconds: what is over sooner is soon done again
_MOST_LOOKS = 2
_CALLBACKS = 5  # among the positional arguments of fit, in all versions of Keras
_PATIENCE = 2.0
_SAID = (
    "{what} without a holdfast session: nothing of it is saved, and a stop loses all of it. "
    "Add holdfast.Resume() to the callbacks of fit, or start it with holdfast run --auto; a loop of your own needs "
    "holdfast.session()"
)
_TRAINS = "this command trains a Keras model"
_WITHOUT = (
    "this fit has no holdfast.Resume() in its callbacks, as another of this script has: nothing of it is saved, and "
    "after a stop it begins anew"
)


class _Seen:
    """Of this process. ``fits`` run now, one within another; ``resumed`` counts those with Resume so far."""

    def __init__(self) -> None:
        self.protected = threading.Event()
        self.reported = threading.Event()
        self.say: Callable[[str], None] | None = None
        self.fits = 0
        self.resumed = 0


_seen = _Seen()


def watch() -> None:
    """Once for a process under a supervisor."""
    with contextlib.suppress(RuntimeError):  # no further thread: the import must not fail
        threading.Thread(target=_tell, args=(Imported(),), name="holdfast-imported", daemon=True).start()


def has_session(say: Callable[[str], None] | None = None) -> None:
    """The process has one. ``say`` gets a line, once, of a later fit that has no Resume."""
    _seen.protected.set()
    _seen.say = say


def resumes() -> None:
    """A ``fit`` with Resume begins."""
    _seen.resumed += 1


def pass_begins(number: int) -> None:
    """A pass through a ``holdfast.dataset`` begins. The third one outside of ``fit`` is taken for a training loop's:
    one or two may be a look at the data, or the adaptation of a layer.
    """
    if SOCKET_VARIABLE in os.environ and not (_seen.protected.is_set() or _seen.fits) and number >= _MOST_LOOKS:
        _report("holdfast.dataset is read again and again")


@contextlib.contextmanager
def fit_runs(arguments: Sequence[Any], named: Mapping[str, Any]) -> Iterator[None]:
    """Around a ``fit``, with its arguments. One that is called within another is done again with that one's epoch.

    Where Resume is among its callbacks, that opens the session when Keras has made the list of them: as late as it may.
    """
    _seen.fits += 1
    timer = None if _seen.fits > 1 or _has_resume(arguments, named) else _timer()
    try:
        yield
    finally:
        _seen.fits -= 1
        if timer is not None:
            timer.cancel()
        if not (_seen.protected.is_set() or _seen.reported.is_set()):  # a short one may be followed by a protected one
            atexit.unregister(_at_exit)
            atexit.register(_at_exit)


def _has_resume(arguments: Sequence[Any], named: Mapping[str, Any]) -> bool:
    given = named.get("callbacks", arguments[_CALLBACKS] if len(arguments) > _CALLBACKS else None)
    listed = getattr(given, "callbacks", given)
    callbacks = listed if isinstance(listed, list | tuple) else [listed]
    return any(cls.__module__.startswith("holdfast.") for one in callbacks for cls in type(one).__mro__)


def _timer() -> threading.Timer | None:
    before, protected = _seen.resumed, _seen.protected.is_set()

    def look() -> None:
        if _seen.resumed > before:
            return
        if not _seen.protected.is_set():
            _report(_TRAINS)
        elif protected and _seen.say is not None:
            say, _seen.say = _seen.say, None
            say(_WITHOUT)

    timer = threading.Timer(_LATER if protected else _SOON, look)
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # no further thread
        return None
    return timer


def _at_exit() -> None:
    if not _seen.protected.is_set():
        _report(_TRAINS)


def _report(what: str) -> None:
    if not _seen.reported.is_set():
        _seen.reported.set()
        _tell(Unprotected(_SAID.format(what=what)))


def _tell(message: Imported | Unprotected) -> None:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as stream:
        stream.connect(os.environ.get(SOCKET_VARIABLE, ""))
        stream.settimeout(_PATIENCE)
        stream.sendall(encode(message))
        stream.recv(1)  # it hangs up once it knows: this process may be about to end

"""One training process's part in a run: where to resume from, when to save, when to stop. Imports no framework.

What is common to a session under a supervisor (supervised.py) and to one without (standalone.py).
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, NoReturn

from ...core.errors import Exit, SettingsError
from ...core.manifest import CheckpointName, Manifest, spell_loss
from ...spool import Board, Spool

PRESS_AFTER = 1.0
FIT, LOOP = "fit", "loop"
_ONE_LOOP = (
    "this process has a training already, and a holdfast.session cannot share its run with another: start each as a "
    "process and a run of its own, or keep the state of all in one session (docs/session.md)"
)


class Session:
    """One training process's part in a run. Made by ``open_session`` (open.py).

    ``resume`` names the pair in ``spool`` to go on from, and is None where there is none, and once the training that it
    was for is over. ``stopping`` is None until a stop is asked for, then the reason. Reading it costs nothing: it is a
    plain attribute that another thread or a signal handler sets. ``fits`` are the histories of the ``fit`` calls that
    are over, and ``step`` the batches that they did.
    """

    def __init__(
        self, spool: Spool, incarnation: int, next_save: int, resume: CheckpointName | None, durable: bool
    ) -> None:
        self.spool = spool
        self.incarnation = incarnation
        self.resume = resume
        self.durable = durable
        self.origin: Mapping[str, Any] = {}
        self.stopping: str | None = None
        self.save_asked: str | None = None
        self.board = Board(spool.file(Board.FILE))
        self.fits: list[Any] = []
        self.step = 0
        self.when_pressed: Callable[[], None] | None = None
        self._next_save = next_save
        self._trains: str | None = None
        self.leaving = False
        self._previous_handler: Any = None
        self._inside: Callable[[FrameType | None], bool] = _anywhere

    @property
    def supervised(self) -> bool:
        return False

    def next_name(self, epoch: int, step: int, loss: float | None) -> CheckpointName:
        """A name that no pair of this run ever had."""
        name = CheckpointName(epoch, step, spell_loss(loss), self.incarnation, self._next_save)
        self._next_save += 1
        return name

    def admit(self, kind: str) -> None:
        """A training, FIT or LOOP, wants to go on from this session's pair. Raises SettingsError if it may not.

        A pair says how many fits were over when it was taken. It says nothing of a loop, which would go on from what
        came behind it, or hand what it has itself to that.
        """
        if self._trains is not None and LOOP in (kind, self._trains):
            self.refuse(_ONE_LOOP)
            raise SettingsError(_ONE_LOOP)
        self._trains = kind

    def began(self, epochs: int | None, inside: Callable[[FrameType | None], bool] | None = None) -> None:
        """From here on SIGTERM asks for a save and a stop.

        ``inside`` says of a frame whether the training still runs there, if it may end without a word.
        """
        self._inside = inside or _anywhere
        if threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGTERM, self._signalled)
            if before != self._signalled:  # else an earlier training ended without a word
                self._previous_handler = before

    def finished(self, stored: bool = True) -> None:
        """All epochs are done, and the last state is ``stored`` or not. SIGTERM means again what it meant before."""
        self.give_back_signal()

    def leave(self, stored: bool) -> NoReturn:
        """Ends the process, as was asked for. SIGTERM asks for nothing else until then."""
        self.leaving = True
        self.tell_stop(stored)
        raise SystemExit(int(Exit.STOPPED if stored else Exit.UNSTORED))

    def tell_start(self, batch: int = 0) -> None:
        """Where it begins: at ``resume``, ``batch`` batches into its epoch. (A supervisor has said it.)"""

    def tell_stop(self, stored: bool) -> None:
        """Where the state is, as the process ends early. (A supervisor will say it.)"""

    def ask_stop(self, reason: str) -> None:
        """Called by a signal handler or another thread. What the training thread has not served after a while is
        pressed for: ``when_pressed`` is called in a thread of its own.
        """
        if self.stopping is None:
            self.stopping = reason
            threading.Thread(target=self._press, name="holdfast-press", daemon=True).start()

    def _press(self) -> None:
        time.sleep(PRESS_AFTER)
        if self.when_pressed is not None:
            self.when_pressed()

    def saved(self, manifest: Manifest, seconds: float) -> None:
        """The pair and its manifest are in the spool, ``seconds`` after its snapshot."""
        if self.resume is not None and manifest.name.finite:  # the older one may be removed from here on
            self.resume = manifest.name

    def make_room(self) -> bool:
        """Removes the oldest pair that may go, for the disk is full. False if none may."""
        expendable = self._expendable()
        if expendable:
            self.spool.remove(expendable[-1])
        return bool(expendable)

    def _expendable(self) -> list[CheckpointName]:
        """Pairs that a full disk may cost, newest first: those that the store has."""
        return self.spool.stored()

    def failed(self, error: str) -> None:
        """A state is in no pair; ``error`` says why."""
        self.say(error)

    def mark_unusable(self, error: str) -> None:
        """The pair ``resume`` cannot be used: from here on it is the next older one. Raises NoValidPair without one.

        Under the supervisor the process ends, and is started again with that pair.
        """
        raise NotImplementedError

    def refuse(self, error: str) -> None:
        """The checkpoint does not fit this script, or the script is no training: no start will do better."""

    def say(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a terminal that is gone, or a log on a full disk
            print(f"holdfast: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def close(self) -> None:
        """Gives back what the session holds of this process: the signal handler, and the lock or the connection."""
        self.give_back_signal()

    def give_back_signal(self) -> None:
        """SIGTERM means again what it meant before ``began``."""
        if self._previous_handler is not None:
            signal.signal(signal.SIGTERM, self._previous_handler)
            self._previous_handler = None

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self.leaving or self._inside(frame):
            self.ask_stop(signal.Signals(number).name)
        else:  # the training ended by an exception that the script caught
            self.give_back_signal()
            signal.raise_signal(number)


def _anywhere(frame: FrameType | None) -> bool:
    return True

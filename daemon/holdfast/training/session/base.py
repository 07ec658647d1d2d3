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

from ...core.checkpoint_name import CheckpointName, spell_loss
from ...core.errors import Exit, InvalidPair, SettingsError
from ...core.manifest import Manifest
from ...spool import Board, Spool
from ..pair.background_writer import Writer
from ..pair.pair_files import RANKS, Saved, load_from
from .interval import Decision, Interval
from .ledger import Ledger, TrainingRecord
from .signals import TakenSignal

OVERDUE_AFTER = 1.0
FIT, LOOP = "fit", "loop"
_ONE_LOOP = (
    "this process already has a training: use one holdfast.session in a process, and start other trainings as "
    "processes and runs of their own, or keep the state of all in one session (docs/session.md)"
)


class Session:
    """One training process's part in a run. Made by ``open_session`` (open.py).

    ``every`` says when a training saves that does not say it itself.
    ``resume`` names the newest pair in ``spool`` as the session opened; None where there is none. ``ledger`` are the
    run's trainings, once the first of this process has begun; ``claimed`` those that this start of the command has come
    to, by their number there, ``ended`` those of them that reported their end before, and ``extended`` says that the
    run is to do more than before. ``stop_reason`` is None until a stop is requested, and ``save_reason`` until a pair
    is. They cost nothing to read: another thread or a signal handler sets them. ``step`` are the batches done in all
    trainings. ``claimed_by`` is the kind of its trainings, FIT or LOOP, once there is one.
    ``unfinished`` are the numbers of those of this process that began and are not over. ``ways`` are those of keeping
    the position in the data that were said. ``on_overdue_stop`` is called, in a thread of its own, when a requested
    stop has not ended the process after OVERDUE_AFTER seconds, and again after as many.
    """

    def __init__(
        self, spool: Spool, incarnation: int, next_save: int, resume: CheckpointName | None, durable: bool
    ) -> None:
        self.spool = spool
        self.incarnation = incarnation
        self.resume = resume
        self.durable = durable
        self.origin: Mapping[str, Any] = {}
        self.every = "epoch"
        self.stop_reason: str | None = None
        self.save_reason: str | None = None
        self.board = Board(spool.file(Board.FILE))
        self.ledger: Ledger | None = None
        self.claimed: set[int] = set()
        self.ended: set[int] = set()
        self.extended = False
        self.unfinished: set[int] = set()
        self.ways: set[str] = set()
        self.step = 0
        self.writer = self._make_writer()
        self.on_overdue_stop: Callable[[], None] | None = None
        self._next_save = next_save
        self.claimed_by: str | None = None
        self.ending = False
        self._sigterm = TakenSignal(signal.SIGTERM, self._signalled)
        self._sigint = TakenSignal(signal.SIGINT, self._interrupted)
        self._inside: Callable[[FrameType | None], bool] = _anywhere

    @property
    def supervised(self) -> bool:
        return False

    @property
    def rank(self) -> int:
        """This machine's number among those that train this model together."""
        return 0

    @property
    def ranks(self) -> int:
        """How many machines train this model together."""
        return 1

    def _make_writer(self) -> Writer:
        return Writer(self)

    def save_together(self, reason: str) -> bool:
        """Where the clock says that a pair is due, a gang saves it once all ranks are asked to. False for one alone."""
        return False

    def arrive(self) -> None:
        """At each boundary at which a stop or a save may be served: all ranks of a gang serve it at the same one."""

    def states_of_ranks(
        self, at: tuple[int, int, int], facts: Mapping[str, Any], digests: Callable[[], Mapping[str, str]]
    ) -> Mapping[int, bytes]:
        """See PairTarget."""
        return {}

    def load(self, name: CheckpointName) -> Saved:
        """Reads a pair that is in ``spool``. Raises InvalidPair, also if it is not where its name says."""
        saved = load_from(self.spool, name)
        if self.ranks == 1 and RANKS in saved.facts:
            raise InvalidPair("several machines trained it together, and this one trains alone (docs/many-machines.md)")
        return saved

    def next_name(self, epoch: int, step: int, loss: float | None) -> CheckpointName:
        """A name that no pair of this run ever had."""
        name = CheckpointName(epoch, step, spell_loss(loss), self.incarnation, self._next_save)
        self._next_save += 1
        return name

    def claim(self, kind: str) -> None:
        """A training of that kind, FIT or LOOP, takes this session's pair. Raises SettingsError if it may not.

        A process may have several fits, one after the other, or one loop: a pair records how many fits were over when
        it was taken, and nothing about loops.
        """
        if self.claimed_by is not None and LOOP in (kind, self.claimed_by):
            self.refuse(_ONE_LOOP)
            raise SettingsError(_ONE_LOOP)
        self.claimed_by = kind

    def began(
        self,
        epochs: int | None,
        inside: Callable[[FrameType | None], bool] | None = None,
        training: int = 0,
        left: bool = True,
        batches: int | None = None,
    ) -> None:
        """From here on SIGTERM requests a save and a stop. ``left``: there is something to train. ``batches`` are those
        of an epoch, where they are known.

        ``inside`` says whether a frame belongs to the training; give it where an exception may end the training without
        a call of ``finished``. ``training`` is its number among the run's.
        """
        self.unfinished.add(training)
        self._inside = inside or _anywhere
        if threading.current_thread() is threading.main_thread():
            self._sigterm.take()
            if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, self._interrupted):
                self._sigint.take()

    def finished(self, stored: bool = True, training: int = 0) -> None:
        """All epochs are done, and the last state is ``stored`` or not. The script's own SIGTERM handler is back."""
        self.unfinished.discard(training)
        self.restore_signal_handler()

    def end_process(self, stored: bool) -> NoReturn:
        """Ends the process, as was requested. Another SIGTERM changes nothing."""
        self.ending = True
        self.report_stop(stored)
        raise SystemExit(int(Exit.STOPPED if stored else Exit.UNSTORED))

    def report_start(self, batch: int = 0) -> None:
        """Where it begins: at ``resume``, ``batch`` batches into its epoch. (A supervisor reports that itself.)"""

    def report_stop(self, stored: bool) -> None:
        """Where the state is, as the process ends early. (A supervisor reports that itself.)"""

    def request_stop(self, reason: str) -> None:
        """Called by a signal handler or another thread. The first reason counts."""
        if self.stop_reason is None:
            self.stop_reason = reason
            with contextlib.suppress(RuntimeError):  # no further thread: the next boundary stops all the same
                threading.Thread(target=self._report_overdue, name="holdfast-overdue", daemon=True).start()

    def _report_overdue(self) -> None:
        time.sleep(OVERDUE_AFTER)
        while (report := self.on_overdue_stop) is not None and not self.ending:
            report()
            time.sleep(OVERDUE_AFTER)

    def saved(self, manifest: Manifest, seconds: float) -> None:
        """The pair and its manifest are in the spool, ``seconds`` after its snapshot."""
        if self.ledger is not None:
            self.ledger.saved(manifest.name)

    def make_room(self) -> bool:
        """Removes a retired file, or else the oldest pair that may be removed, when the disk is full. False if there is
        none.
        """
        if self.spool.drop_retired():
            return True
        expendable = self._expendable()
        if expendable:
            self.spool.remove(expendable[-1])
        return bool(expendable)

    def _expendable(self) -> list[CheckpointName]:
        """Pairs that may be removed when the disk is full, newest first: those that the store has."""
        return self.spool.stored()

    def failed(self, error: str) -> None:
        """The state could not be stored; ``error`` says why."""
        self.say(error)

    def claim_record(self, record: TrainingRecord) -> None:
        """This start of the command has come to that training."""
        assert self.ledger is not None
        self.claimed.add(self.ledger.index(record))

    def fetch(self, name: CheckpointName) -> bool:
        """Brings a pair of the run to ``spool``, whole. False if there is none. May wait for the store."""
        raise NotImplementedError

    def mark_unusable(self, error: str, name: CheckpointName | None = None) -> None:
        """The pair ``name``, or ``resume``, cannot be used: ``resume`` becomes the newest that can.

        Raises NoValidPair without one. Under the supervisor the process ends, and is started again without that pair.
        """
        raise NotImplementedError

    def report_interval(self, interval: Interval) -> None:
        """Passes on what ``every="auto"`` decided, when that is news."""
        decision = interval.news()
        if decision is not None:
            self.decided(decision)

    def decided(self, decision: Decision) -> None:
        """So often a checkpoint is saved from now on."""

    def refuse(self, error: str) -> None:
        """The checkpoint does not fit this script, or the script is no training: no restart changes that."""

    def say(self, text: str, warning: bool = True) -> None:
        with contextlib.suppress(OSError, ValueError):  # a terminal that is gone, or a log on a full disk
            print(f"holdfast: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def close(self) -> None:
        """Gives back what the session holds of this process: the signal handler, and the lock or the connection."""
        self.on_overdue_stop = None
        self.restore_signal_handler()

    def restore_signal_handler(self) -> None:
        """SIGTERM and SIGINT do again what they did before ``began``."""
        self._sigterm.give_back()
        self._sigint.give_back()

    def keep_signal_handler(self) -> None:
        """Call at each boundary: SIGTERM may have been taken away below Python."""
        self._sigterm.keep()
        self._sigint.keep()

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """SIGINT. Under a supervisor no terminal sends it: it comes with a signal to all processes."""
        self._signalled(number, frame)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self.ending or self._inside(frame):
            self.request_stop(signal.Signals(number).name)
        else:  # the training ended by an exception that the script caught
            self.restore_signal_handler()
            signal.raise_signal(number)


def _anywhere(frame: FrameType | None) -> bool:
    return True

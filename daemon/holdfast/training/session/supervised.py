"""Training under ``holdfast run``: the session talks to the supervisor over the socket that the environment names."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ...core.checkpoint_name import CheckpointName
from ...core.errors import Exit, HoldfastError
from ...core.manifest import Manifest
from ...core.wire import (
    MAX_LINE_BYTES,
    SOCKET_VARIABLE,
    Hello,
    Message,
    Notice,
    PairHere,
    PairSaved,
    PairWanted,
    Refused,
    Save,
    SaveFailed,
    SavesEvery,
    StacksBy,
    Stop,
    TrainingBegan,
    TrainingClaimed,
    TrainingFinished,
    Unusable,
    Welcome,
    bounded,
    decode,
    encode,
)
from ...spool import Spool
from ...spool.gang_board import SAVE, STOP
from ..gang.part import GangPart
from ..gang.rank_state import OwnState
from ..gang.state_sender import StateSender
from ..pair.background_writer import Writer
from ..pair.pair_files import Saved
from .base import Session
from .interval import Decision
from .ledger import TrainingRecord
from .preload import changed_since, loaded
from .thread_stacks import Stacks

_LOOK_EVERY = 0.05

_SET_LATE = (
    "the script sets {} otherwise than when it was last started. Its packages were imported before it began, with the "
    "earlier value, so it may have no effect in this start. --stand-by off prevents that"
)


class SupervisedSession(Session):
    """Under ``holdfast run``. ``room_wait``: seconds to wait on a full disk until the store has a pair that may go."""

    def __init__(self, welcome: Welcome, stream: socket.socket) -> None:
        resume = CheckpointName.parse(welcome.resume) if welcome.resume else None
        run_dir = Path(welcome.run_dir)
        self._stream = stream
        self._lock = threading.Lock()
        self._part = GangPart(welcome.rank, welcome.ranks, run_dir, self._tell) if welcome.ranks > 1 else None
        super().__init__(Spool(run_dir), welcome.incarnation, welcome.next_save, resume, welcome.durable)
        self.origin = welcome.origin
        self.every = welcome.every
        self.claimed = {number for number in welcome.claimed if type(number) is int}
        self.ended = {number for number in welcome.finished if type(number) is int}
        self.extended = welcome.extended
        self.room_wait = 10.0
        self._here: queue.SimpleQueue[PairHere] = queue.SimpleQueue()
        self._stacks = Stacks()
        self._agreed_reason = "stop"
        if self._stacks.signal is not None:
            self._tell(StacksBy(os.getpid(), self._stacks.signal))
        threading.Thread(target=self._listen, name="holdfast", daemon=True).start()

    @property
    def supervised(self) -> bool:
        return True

    @property
    def rank(self) -> int:
        return 0 if self._part is None else self._part.rank

    @property
    def ranks(self) -> int:
        return 1 if self._part is None else self._part.ranks

    def _make_writer(self) -> Writer:
        if self._part is None or not self._part.rank:
            return super()._make_writer()
        return StateSender(self, self._part, self._written)

    def _written(self, name: CheckpointName) -> None:
        """By rank 0, for all."""
        if self.ledger is not None:
            self.ledger.saved(name)

    def arrive(self) -> None:
        action = 0 if self._part is None else self._part.arrive()
        if action == STOP:
            self.stop_reason = self._agreed_reason
        elif action == SAVE:
            self.save_reason = self._agreed_reason

    def save_together(self, reason: str) -> bool:
        if self._part is not None:
            self._part.want_save(reason)
        return self._part is not None

    def request_stop(self, reason: str) -> None:
        """A rank of a gang stops where all ranks do: its supervisor has that agreed on."""
        if self._part is None:
            super().request_stop(reason)
        else:
            self._part.want_stop(reason)

    def end_process(self, stored: bool) -> NoReturn:
        self.ending = True
        if self._part is not None:
            self._part.leave(stored)
        super().end_process(stored)

    def states_of_ranks(
        self, at: tuple[int, int, int], facts: Mapping[str, Any], digests: Callable[[], Mapping[str, str]]
    ) -> Mapping[int, bytes]:
        return {} if self._part is None else self._part.states(OwnState(at, facts, digests()))

    def load(self, name: CheckpointName) -> Saved:
        saved = super().load(name)
        return saved if self._part is None else self._part.own(saved)

    def began(
        self,
        epochs: int | None,
        inside: Callable[[FrameType | None], bool] | None = None,
        training: int = 0,
        left: bool = True,
        batches: int | None = None,
    ) -> None:
        super().began(epochs, inside, training, left, batches)
        self._tell(TrainingBegan(epochs, training, left, batches))

    def finished(self, stored: bool = True, training: int = 0) -> None:
        super().finished(stored, training)
        self._tell(TrainingFinished(training))

    def make_room(self) -> bool:
        """A pair that is on its way to the store may go soon, so it is waited for."""
        patience = time.monotonic() + self.room_wait
        while not super().make_room():
            if not self.spool.pairs() or time.monotonic() >= patience:
                return False
            time.sleep(_LOOK_EVERY)
        return True

    def saved(self, manifest: Manifest, seconds: float) -> None:
        super().saved(manifest, seconds)
        if self._part is not None:
            self._part.saved(manifest.name.step)
        message = PairSaved(
            str(manifest.name),
            manifest.reason,
            seconds,
            manifest.batch,
            bounded(manifest.metrics),
            self.board.validated,
            manifest.fit,
        )
        self._tell(message)

    def failed(self, error: str) -> None:
        self._tell(SaveFailed(error))

    def claim_record(self, record: TrainingRecord) -> None:
        super().claim_record(record)
        assert self.ledger is not None
        self._tell(TrainingClaimed(self.ledger.index(record)))

    def fetch(self, name: CheckpointName) -> bool:
        self._tell(PairWanted(str(name)))
        while True:
            with contextlib.suppress(queue.Empty):
                here = self._here.get(timeout=_LOOK_EVERY)
                if here.name == str(name):
                    return here.error is None
            if self.stop_reason is not None:
                self.end_process(stored=True)

    def mark_unusable(self, error: str, name: CheckpointName | None = None) -> None:
        self._tell(Unusable(str(name or self.resume), error))
        raise SystemExit(int(Exit.FAILED))

    def refuse(self, error: str) -> None:
        self._tell(Refused(error))

    def decided(self, decision: Decision) -> None:
        self._tell(SavesEvery(decision.interval, decision.cost))

    def say(self, text: str, warning: bool = True) -> None:
        self._tell(Notice(text, warning))

    def close(self) -> None:
        super().close()
        self._stacks.close()
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)  # a close alone waits for the thread that reads
        self._stream.close()

    def _tell(self, message: Message) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._stream.sendall(encode(message))

    def _listen(self) -> None:
        with contextlib.suppress(OSError, HoldfastError):
            lines = self._stream.makefile("rb")
            while line := lines.readline(MAX_LINE_BYTES):
                message = decode(line)
                if isinstance(message, Stop):
                    self._agreed_reason = message.reason
                    if self._part is None:
                        self.request_stop(message.reason)
                elif isinstance(message, Save):
                    self._agreed_reason = message.reason
                    if self._part is None:
                        self.save_reason = message.reason
                elif isinstance(message, PairHere):
                    self._here.put(message)
                elif self._part is not None:
                    self._part.heard(message)
        if self._part is not None:
            self._part.alone()
        self.request_stop("the supervisor is gone")


def connect(address: str) -> SupervisedSession:
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.connect(address)
        stream.sendall(encode(Hello(os.getpid(), loaded())))
        line = b""
        while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES and (byte := stream.recv(1)):
            line += byte
    except OSError as error:
        raise HoldfastError(f"{SOCKET_VARIABLE}={address}: the supervisor does not answer: {error}") from None
    if not line:
        raise HoldfastError("another process of this run trains already: a run has one training process at a time")
    welcome = decode(line)
    if not isinstance(welcome, Welcome):
        raise HoldfastError("the supervisor speaks another version of the protocol; restart it after an upgrade")
    session = SupervisedSession(welcome, stream)
    if changed := changed_since():
        session.say(_SET_LATE.format(", ".join(changed)))
    return session

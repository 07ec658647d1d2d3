"""Training under ``holdfast run``: the session talks to the supervisor over the socket that the environment names."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

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
    StacksBy,
    Stop,
    TrainingBegan,
    TrainingClaimed,
    TrainingFinished,
    Unusable,
    Welcome,
    decode,
    encode,
)
from ...spool import Spool
from .base import Session
from .ledger import TrainingRecord
from .stacks import Stacks

_LOOK_EVERY = 0.05


class SupervisedSession(Session):
    """Under ``holdfast run``. ``room_wait``: seconds to wait on a full disk until the store has a pair that may go."""

    def __init__(self, welcome: Welcome, stream: socket.socket) -> None:
        resume = CheckpointName.parse(welcome.resume) if welcome.resume else None
        super().__init__(Spool(Path(welcome.run_dir)), welcome.incarnation, welcome.next_save, resume, welcome.durable)
        self.origin = welcome.origin
        self.claimed = {number for number in welcome.claimed if type(number) is int}
        self.ended = {number for number in welcome.finished if type(number) is int}
        self.extended = welcome.extended
        self.room_wait = 10.0
        self._stream = stream
        self._lock = threading.Lock()
        self._here: queue.SimpleQueue[PairHere] = queue.SimpleQueue()
        self._stacks = Stacks()
        if self._stacks.signal is not None:
            self._tell(StacksBy(os.getpid(), self._stacks.signal))
        threading.Thread(target=self._listen, name="holdfast", daemon=True).start()

    @property
    def supervised(self) -> bool:
        return True

    def began(
        self,
        epochs: int | None,
        inside: Callable[[FrameType | None], bool] | None = None,
        training: int = 0,
        left: bool = True,
    ) -> None:
        super().began(epochs, inside, training, left)
        self._tell(TrainingBegan(epochs, training, left))

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
        self._tell(PairSaved(str(manifest.name), manifest.reason, seconds))

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

    def say(self, text: str) -> None:
        self._tell(Notice(text))

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
                    self.request_stop(message.reason)
                elif isinstance(message, Save):
                    self.save_reason = message.reason
                elif isinstance(message, PairHere):
                    self._here.put(message)
        self.request_stop("the supervisor is gone")


def connect(address: str) -> SupervisedSession:
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.connect(address)
        stream.sendall(encode(Hello(os.getpid())))
        line = b""
        while not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES and (byte := stream.recv(1)):
            line += byte
    except OSError as error:
        raise HoldfastError(f"{SOCKET_VARIABLE}={address}: the supervisor does not answer: {error}") from None
    if not line:
        raise HoldfastError("another process of this run trains already: use holdfast.Resume in one process only")
    welcome = decode(line)
    if not isinstance(welcome, Welcome):
        raise HoldfastError("the supervisor speaks another version of the protocol; restart it after an upgrade")
    return SupervisedSession(welcome, stream)

"""The training process's end of the protocol: where to resume from, when to save, when to stop.

Under the supervisor a session talks to it over the socket that the environment names. Without one it keeps its pairs
under a folder of its own (``./runs``), and SIGTERM is what asks it to stop. No framework is imported here.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core.errors import Exit, HoldfastError, InvalidPair, NoValidPair
from ..core.manifest import CheckpointName, Manifest, spell_loss
from ..core.policy import Retention
from ..core.runs import COMPLETE_FILE, RunId, next_id
from ..core.wire import (
    MAX_LINE_BYTES,
    RUN_DIR_VARIABLE,
    SOCKET_VARIABLE,
    Hello,
    Message,
    Notice,
    PairSaved,
    Refused,
    Save,
    SaveFailed,
    StacksBy,
    Stop,
    TrainingBegan,
    TrainingFinished,
    Unusable,
    Welcome,
    decode,
    encode,
)
from ..spool import Board, Spool, write_whole
from .stacks import Stacks

DEFAULT_DIRECTORY = "runs"
PRESS_AFTER = 1.0
ROOM_WAIT = 10.0
_LOOK_EVERY = 0.05

_open: Session | None = None


class Session:
    """One training process's part in a run. Made by ``open_session``.

    ``resume`` names the pair in ``spool`` to go on from, or is None. ``stopping`` is None until a stop is asked for,
    then the reason. Reading it costs nothing: it is a plain attribute that another thread or a signal handler sets.
    ``fits`` are the histories of the ``fit`` calls that are over, and ``step`` the batches that they did.
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
        self._previous_handler: Any = None

    @property
    def supervised(self) -> bool:
        return False

    def next_name(self, epoch: int, step: int, loss: float | None) -> CheckpointName:
        """A name that no pair of this run ever had."""
        name = CheckpointName(epoch, step, spell_loss(loss), self.incarnation, self._next_save)
        self._next_save += 1
        return name

    def began(self, epochs: int | None) -> None:
        """From here on SIGTERM asks for a save and a stop."""
        if threading.current_thread() is threading.main_thread():
            self._previous_handler = signal.signal(signal.SIGTERM, self._signalled)

    def finished(self) -> None:
        """All epochs are done. SIGTERM means again what it meant before."""
        self._give_back_signal()

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
        self.say(f"a checkpoint could not be written: {error}")

    def pass_over(self, error: str) -> None:
        """The pair ``resume`` cannot be used: from here on it is the next older one. Raises NoValidPair without one.

        Under the supervisor the process ends, and is started again with that pair.
        """
        raise NotImplementedError

    def refuse(self, error: str) -> None:
        """The checkpoint does not fit this script: no start will do better."""

    def say(self, text: str) -> None:
        print(f"holdfast: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def close(self) -> None:
        """Gives back what the session holds of this process: the signal handler, and the lock or the connection."""
        self._give_back_signal()

    def _give_back_signal(self) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGTERM, self._previous_handler)
            self._previous_handler = None

    def _signalled(self, number: int, frame: object) -> None:
        self.ask_stop(signal.Signals(number).name)


class AloneSession(Session):
    """Without a supervisor: the run's folder is all there is."""

    def __init__(self, spool: Spool, keep: int) -> None:
        self._lock = spool.lock()
        self._lock.__enter__()  # the kernel drops it with the process
        spool.sweep()
        pairs = spool.pairs()
        incarnation = max((name.incarnation for name in pairs), default=0) + 1
        next_save = max((name.save for name in pairs), default=0) + 1
        super().__init__(spool, incarnation, next_save, None, durable=True)
        self._keep = Retention(keep)
        self._untried = pairs
        self.resume = self._newest_valid() if pairs else None

    def began(self, epochs: int | None) -> None:
        self.spool.file(COMPLETE_FILE).unlink(missing_ok=True)
        super().began(epochs)

    def finished(self) -> None:
        super().finished()
        write_whole(self.spool.file(COMPLETE_FILE), b'{"format": 1}\n', durable=True)

    def close(self) -> None:
        super().close()
        self._lock.__exit__(None, None, None)

    def saved(self, manifest: Manifest, seconds: float) -> None:
        with contextlib.suppress(OSError):  # what cannot be removed stays: the next pair is written all the same
            for name in self._keep.expendable(self.spool.pairs(), ()):
                self.spool.remove(name)

    def _expendable(self) -> list[CheckpointName]:
        return self.spool.pairs()[1:]

    def pass_over(self, error: str) -> None:
        self.say(f"{self.resume}: passed over: {error}")
        self.resume = self._newest_valid()

    def _newest_valid(self) -> CheckpointName:
        while self._untried:
            name = self._untried.pop(0)
            try:
                if not name.finite:
                    raise InvalidPair("its loss is not finite")
                self.spool.verify(self.spool.manifest(name))
            except InvalidPair as error:
                self.say(f"{name}: passed over: {error}")
            else:
                return name
        raise NoValidPair(f"{self.spool.path}: none of its checkpoints is valid; move the folder away")


class SupervisedSession(Session):
    """Under ``holdfast run``."""

    def __init__(self, welcome: Welcome, stream: socket.socket) -> None:
        resume = CheckpointName.parse(welcome.resume) if welcome.resume else None
        super().__init__(Spool(Path(welcome.run_dir)), welcome.incarnation, welcome.next_save, resume, welcome.durable)
        self.origin = welcome.origin
        self._stream = stream
        self._lock = threading.Lock()
        self._stacks = Stacks()
        if self._stacks.signal is not None:
            self._tell(StacksBy(os.getpid(), self._stacks.signal))
        threading.Thread(target=self._listen, name="holdfast", daemon=True).start()

    @property
    def supervised(self) -> bool:
        return True

    def began(self, epochs: int | None) -> None:
        super().began(epochs)
        self._tell(TrainingBegan(epochs))

    def finished(self) -> None:
        super().finished()
        self._tell(TrainingFinished())

    def make_room(self) -> bool:
        """A pair that is on its way to the store may go soon, so it is waited for: ROOM_WAIT seconds at most."""
        patience = time.monotonic() + ROOM_WAIT
        while not super().make_room():
            if not self.spool.pairs() or time.monotonic() >= patience:
                return False
            time.sleep(_LOOK_EVERY)
        return True

    def saved(self, manifest: Manifest, seconds: float) -> None:
        self._tell(PairSaved(str(manifest.name), manifest.reason, seconds))

    def failed(self, error: str) -> None:
        self._tell(SaveFailed(error))

    def pass_over(self, error: str) -> None:
        self._tell(Unusable(str(self.resume), error))
        raise SystemExit(int(Exit.FAILED))

    def refuse(self, error: str) -> None:
        self._tell(Refused(error))

    def say(self, text: str) -> None:
        self._tell(Notice(text))

    def close(self) -> None:
        super().close()
        self.when_pressed = None
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
                    self.ask_stop(message.reason)
                elif isinstance(message, Save):
                    self.save_asked = message.reason
        self.ask_stop("the supervisor is gone")


def open_session(directory: str | os.PathLike[str] | None = None, keep: int = 5, epochs: int | None = None) -> Session:
    """The process's session; the same one for every call. ``epochs`` is how far this training means to go."""
    global _open
    if _open is None:
        address = os.environ.get(SOCKET_VARIABLE)
        _open = _connect(address) if address else _alone(Path(directory or DEFAULT_DIRECTORY), keep, epochs)
    return _open


def close_session() -> None:
    """Ends this process's part in its run, so that it can begin another (in a notebook, say)."""
    global _open
    if _open is not None:
        _open.close()
        _open = None


def run_dir() -> Path:
    """The run's own folder on this machine.

    Under the supervisor this needs no session; without one it opens the session in ``./runs``.
    """
    given = os.environ.get(RUN_DIR_VARIABLE)
    return Path(given) if given else open_session().spool.path


def _connect(address: str) -> SupervisedSession:
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


def _alone(directory: Path, keep: int, epochs: int | None) -> AloneSession:
    """Goes on with this script's newest run, unless that has reached its end and no more epochs are asked for."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = (re.sub(r"[^A-Za-z0-9_-]", "-", Path(sys.argv[0]).stem).lstrip("-_") or "run")[:63]
    existing = [run for entry in directory.iterdir() if (run := RunId.parse(entry.name))]
    newest = max((run for run in existing if run.name == name), default=None)
    if newest is None or _is_over(directory / str(newest), epochs):
        newest = next_id(name, existing)
    return AloneSession(Spool(directory / str(newest)), keep)


def _is_over(path: Path, epochs: int | None) -> bool:
    if not (path / COMPLETE_FILE).exists():
        return False
    done = max((name.epoch for name in Spool(path).pairs()), default=0)
    return epochs is None or epochs <= done

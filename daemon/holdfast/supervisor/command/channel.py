"""The supervisor's end of the conversation with the training process (core/wire)."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ...core.wire import (
    MAX_LINE_BYTES,
    Hello,
    Imported,
    Message,
    NotServed,
    StandingBy,
    Unprotected,
    Welcome,
    WireError,
    decode,
    encode,
)

_LONGEST_PATH = 100
_LOOK_EVERY = 0.2


class Channel:
    """A Unix socket in a private folder. The first process that says Hello is the training; others are refused.

    It is welcomed once ``ready`` is set: when the pair to resume from is here. ``on_hang_up`` is called when its
    connection has ended, as it does with the process at the latest. One that stands by is held until ``let_begin``.
    """

    def __init__(
        self,
        on_message: Callable[[Message], None],
        welcome: Callable[[], Welcome],
        ready: threading.Event,
        on_hang_up: Callable[[], None],
    ) -> None:
        self._on_message = on_message
        self._on_hang_up = on_hang_up
        self._welcome = welcome
        self._ready = ready
        self._folder = Path(tempfile.mkdtemp(prefix="holdfast-"))
        if len(os.fsencode(self._folder)) > _LONGEST_PATH:  # a Unix socket's path has 108 bytes
            self._folder.rmdir()
            self._folder = Path(tempfile.mkdtemp(prefix="holdfast-", dir="/tmp"))
        self.path = self._folder / "s"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen(8)
        self._lock = threading.Lock()
        self._taken = False
        self._peer: socket.socket | None = None
        self._silent = threading.Event()
        self._silent.set()
        self._may_begin: set[int] = set()
        self._begins = threading.Condition()

    def start(self) -> None:
        threading.Thread(target=self._accept, name="channel", daemon=True).start()

    def send(self, message: Message) -> bool:
        """False if no training process is connected."""
        with self._lock:
            if self._peer is None:
                return False
            try:
                self._peer.sendall(encode(message))
            except OSError:
                return False
        return True

    def let_begin(self, pid: int) -> None:
        """The script of that process, which stands by or will do so in a moment."""
        with self._begins:
            self._may_begin.add(pid)
            self._begins.notify_all()

    def never_began(self, pid: int) -> bool:
        """Did that process, which has ended, stand by still, though it was to begin?"""
        with self._begins:
            never = pid in self._may_begin
            self._may_begin.discard(pid)
        return never

    def wait_silent(self, seconds: float) -> bool:
        """Waits until the training process has hung up and all its messages are passed on; False if it takes longer."""
        return self._silent.wait(seconds)

    def has_mark(self, name: str) -> bool:
        """Has a process of the command left a file of that name beside the socket?"""
        return (self._folder / name).exists()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._server.accept()
                while not self._begin(peer):
                    time.sleep(_LOOK_EVERY)

    def _begin(self, peer: socket.socket) -> bool:
        """False where this machine has no thread to give now: the process at the other end waits."""
        try:
            threading.Thread(target=self._serve, args=(peer,), name="channel-peer", daemon=True).start()
        except RuntimeError:
            return False
        return True

    def _serve(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError, WireError):
            lines = peer.makefile("rb")
            hello = decode(lines.readline(MAX_LINE_BYTES))
            if isinstance(hello, Unprotected | Imported | NotServed):
                self._on_message(hello)
            if isinstance(hello, StandingBy):
                self._hold(peer, hello.pid)
            if not isinstance(hello, Hello) or not self._reserve():
                return
            try:
                self._on_message(hello)
                self._greet(peer)
                while line := lines.readline(MAX_LINE_BYTES):
                    self._on_message(decode(line))
            finally:
                self._on_hang_up()
                with self._lock:
                    self._taken, self._peer = False, None
                self._silent.set()

    def _hold(self, peer: socket.socket, pid: int) -> None:
        """Until it may begin, or hangs up."""
        with self._begins:
            while not self._begins.wait_for(lambda: pid in self._may_begin, _LOOK_EVERY):
                if select.select([peer], [], [], 0)[0]:
                    return
            peer.sendall(b"\n")
            self._may_begin.discard(pid)

    def _reserve(self) -> bool:
        """False if there is one already."""
        with self._lock:
            if self._taken:
                return False
            self._taken = True
            self._silent.clear()
        return True

    def _greet(self, peer: socket.socket) -> None:
        """Raises ConnectionResetError if it hangs up before there is an answer."""
        while not self._ready.wait(_LOOK_EVERY):
            if select.select([peer], [], [], 0)[0] and not peer.recv(1, socket.MSG_PEEK):
                raise ConnectionResetError
        welcome = encode(self._welcome())
        with self._lock:
            peer.sendall(welcome)
            self._peer = peer

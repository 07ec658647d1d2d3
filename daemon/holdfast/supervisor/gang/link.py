"""One connection between two supervisors of a gang."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from ...core.gang.messages import Beat, LinkMessage, decode, encode
from ...core.wire import MAX_LINE_BYTES, WireError

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 10.0
_LONGEST_LINE = 2 * MAX_LINE_BYTES


class Link:
    """Messages both ways. One that says nothing for SILENCE_SECONDS is gone: each side beats.

    ``send`` may be called in any thread. ``receive`` is one thread's.
    """

    def __init__(self, peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.settimeout(SILENCE_SECONDS)
        self._peer = peer
        self._lines = peer.makefile("rb")
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def own_address(self) -> str:
        """This machine's, as the other side sees it."""
        return str(self._peer.getsockname()[0])

    @property
    def peer_address(self) -> str:
        return str(self._peer.getpeername()[0])

    def send(self, message: LinkMessage) -> bool:
        """False if the other side is gone."""
        try:
            with self._lock:
                self._peer.sendall(encode(message))
        except OSError:
            return False
        return True

    def receive(self, most: int = _LONGEST_LINE) -> LinkMessage | None:
        """None when the other side is gone, or says what is no message."""
        try:
            line = self._lines.readline(most)
            return decode(line) if line else None
        except (OSError, ValueError, WireError):
            return None

    def beat(self, sign: Callable[[], Beat] = Beat) -> None:
        """From now on until ``close``, in a thread of its own."""

        def work() -> None:
            while not self._closed.wait(BEAT_SECONDS) and self.send(sign()):
                pass

        threading.Thread(target=work, name="gang-beat", daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._peer.close()

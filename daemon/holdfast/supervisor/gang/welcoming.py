"""Where rank 0's supervisor is reached, and how the two sides of a connection know each other.

The lease has a key that never travels: each side answers a number of the other's with a code that only one who has the
key can make (HMAC, RFC 2104).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import socket
import threading
from collections.abc import Callable
from typing import Any

import psutil

from ...core.gang.messages import Challenge, Join
from .link import Link

_MOST_STRANGERS = 64
"""Connections of which it is not known yet whose they are."""
_LONGEST_HELLO = 2048
_HELLO_SECONDS = 10.0
_PAUSE = 0.2


def proof(key: str, *said: object) -> str:
    """What only one who has the key can say of ``said``."""
    return hmac.new(key.encode(), "\n".join(map(str, said)).encode(), hashlib.sha256).hexdigest()


def proves(key: str, given: str, *said: object) -> bool:
    return hmac.compare_digest(given.encode(), proof(key, *said).encode())


class Door:
    """Listens, and calls ``serve`` with each connection whose other side knows the key, in a thread of its own."""

    def __init__(self, serve: Callable[[Link, Join], None]) -> None:
        self.key = secrets.token_hex(32)
        self._serve = serve
        self._strangers = threading.Semaphore(_MOST_STRANGERS)
        self._closed = threading.Event()
        self._server = socket.create_server(("", 0), family=socket.AF_INET, backlog=128)
        threading.Thread(target=self._accept, name="gang", daemon=True).start()

    @property
    def announcement(self) -> dict[str, Any]:
        return {"key": self.key, "port": self._server.getsockname()[1], "addresses": addresses()}

    def proof_for(self, hello: Join) -> str:
        return proof(self.key, "rank 0", hello.nonce)

    def close(self) -> None:
        self._closed.set()
        self._server.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                peer, _ = self._server.accept()
            except OSError:  # no descriptor is left, say, or the other side was too quick
                self._closed.wait(_PAUSE)
                continue
            if not self._strangers.acquire(blocking=False):
                peer.close()
                continue
            try:
                threading.Thread(target=self._welcome, args=(peer,), name="gang-member", daemon=True).start()
            except RuntimeError:  # no further thread
                self._strangers.release()
                peer.close()

    def _welcome(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.closing(Link(peer)) as link:
            try:
                hello = self._hello(link)
            finally:
                self._strangers.release()
            if hello is not None:
                self._serve(link, hello)

    def _hello(self, link: Link) -> Join | None:
        """None from one who does not know the key, or takes its time."""
        nonce = secrets.token_hex(16)
        patience = threading.Timer(_HELLO_SECONDS, link.close)
        patience.daemon = True
        patience.start()
        link.send(Challenge(nonce))
        hello = link.receive(most=_LONGEST_HELLO)
        patience.cancel()
        known = isinstance(hello, Join) and proves(self.key, hello.proof, "member", nonce, hello.rank, hello.nonce)
        return hello if known and isinstance(hello, Join) else None


def addresses() -> list[str]:
    """All of this machine's IPv4 addresses, loopback last."""
    found = [
        one.address for interface in psutil.net_if_addrs().values() for one in interface if one.family == socket.AF_INET
    ]
    return sorted(dict.fromkeys(found), key=lambda address: address.startswith("127."))

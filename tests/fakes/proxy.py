"""An HTTP proxy on loopback between the daemon and an S3 server, that does to a request what a bad network does.

A fault is an action and a place: ``cut`` (the connection ends), ``reset`` (it ends by RST) and ``stall`` (silence) at
``body`` (in the middle of the request's body), ``before`` (the server never saw the request), ``after`` (the server
did it, the answer is lost) or ``answer`` (in the middle of the answer); ``delay``; ``answer:503`` and its like, said
by the proxy itself; ``flip:request`` and ``flip:answer`` (one bit of a body). ``PLACES`` lists what there is.

As S3 does, and as moto does not, the proxy verifies the checksums that a request carries: a body that was damaged on
its way is answered with 400 BadDigest and never reaches the server. What carries no checksum is passed on damaged.
A request whose body ends in the middle is not passed on at all: S3 drops it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import re
import select
import socket
import socketserver
import struct
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

PLACES = (
    *("cut:body", "cut:before", "cut:after", "cut:answer"),
    *("reset:body", "reset:before", "reset:after"),
    *("stall:before", "stall:after", "delay"),
    *("answer:500", "answer:503", "answer:403", "answer:409"),
    *("flip:request", "flip:answer"),
)
_ERRORS = {
    400: ("BadDigest", "The CRC32 you specified did not match the calculated checksum."),
    403: ("ExpiredToken", "The provided token has expired."),
    409: ("ConditionalRequestConflict", "A conflicting operation occurred during the request. Retry the request."),
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
}
_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length", "expect"}
_DATA = re.compile(r"model-.*\.(h5|pkl)")
_MANIFEST = re.compile(r"model-.*\.json")
COMMIT_PROTOCOL = frozenset({"data", "multipart", "manifest", "lease", "run", "listing"})


@dataclass(frozen=True)
class Asked:
    """A request as it arrived; ``number`` counts all that the proxy saw. ``body`` is empty until it was read."""

    number: int
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", 0))

    @property
    def key(self) -> str:
        """With the bucket, which comes first."""
        return unquote(urlsplit(self.target).path).lstrip("/")

    @property
    def part(self) -> str:
        """What of the commit protocol it is about; ``other`` is none of it (logs, say)."""
        name, query = self.key.rpartition("/")[2], urlsplit(self.target).query
        if "list-type" in query:
            return "listing"
        if _DATA.fullmatch(name):
            return "multipart" if "upload" in query else "data"
        if _MANIFEST.fullmatch(name):
            return "manifest"
        return {"lease.json": "lease", "run.json": "run", "complete.json": "run"}.get(name, "other")

    def can_have(self, fault: str) -> bool:
        if fault in ("cut:body", "reset:body", "flip:request"):
            return self.length > 1
        if fault in ("cut:answer", "flip:answer"):
            return self.method == "GET"
        if fault == "answer:409":
            return bool({"if-match", "if-none-match"} & set(self.headers))
        return True


@dataclass(frozen=True)
class _Answer:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes

    def encode(self, with_body: bool) -> bytes:
        given = {name.lower(): value for name, value in self.headers}
        length = given.get("content-length", "0") if not with_body else str(len(self.body))
        lines = [f"HTTP/1.1 {self.status} {self.reason}", f"Content-Length: {length}"]
        lines += [f"{name}: {value}" for name, value in self.headers if name.lower() not in _HOP]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (self.body if with_body else b"")


class FaultProxy:
    """Serves while it is entered. ``plan`` names the fault of a request, or None.

    ``log`` gets a JSON line for each fault. ``moment`` is called when a cut, reset or stall comes to its place: a test
    may kill a process there. ``patience`` is the seconds of a stall at most (it ends when the client gives up), and
    ``delay`` those of a delay.
    """

    def __init__(
        self,
        upstream: str,
        plan: Callable[[Asked], str | None],
        log: Path | None = None,
        moment: Callable[[Asked, str], None] = lambda asked, fault: None,
        patience: float = 40.0,
        delay: float = 0.5,
    ) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.plan = plan
        self.moment = moment
        self.patience = patience
        self.delay = delay
        self.requests = 0
        self.faults: list[tuple[str, Asked]] = []
        self._log: IO[str] | None = None if log is None else log.open("a")
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self._log is not None:
            self._log.close()

    def number(self) -> int:
        with self._lock:
            self.requests += 1
            return self.requests

    def choose(self, asked: Asked) -> str | None:
        """The fault for this request, as the plan wants it, written down."""
        with self._lock:
            fault = self.plan(asked)
            if fault is None:
                return None
            assert fault in PLACES, fault
            self.faults.append((fault, asked))
            if self._log is not None:
                line = {"at": time.time(), "fault": fault, "request": asked.number, "method": asked.method}
                print(json.dumps({**line, "key": asked.key, "part": asked.part}), file=self._log, flush=True)
        return fault


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: connections that break are what this is about."""


class _Gone(Exception):
    """The connection was ended here."""


class _Handler(socketserver.StreamRequestHandler):
    owner: FaultProxy

    def handle(self) -> None:
        with contextlib.suppress(_Gone, OSError, http.client.HTTPException):
            while (asked := self._head()) is not None:
                self._serve(asked)

    def _head(self) -> Asked | None:
        words = self.rfile.readline(65536).split()
        if len(words) != 3:
            return None
        headers = {name.lower(): value for name, value in http.client.parse_headers(self.rfile).items()}
        return Asked(self.owner.number(), words[0].decode(), words[1].decode("latin-1"), headers)

    def _serve(self, asked: Asked) -> None:
        fault = self.owner.choose(asked)
        whole = self._read_body(asked, fault)
        if fault == "delay":
            self._wait(self.owner.delay)
        self._end_at("before", fault, whole)
        if fault is not None and fault.startswith("answer:"):
            answer = refusal(int(fault.partition(":")[2]))
        else:
            arrived = replace(whole, body=_flipped(whole.body)) if fault == "flip:request" else whole
            answer = self._forward(arrived) if _intact(arrived) else refusal(400)
        self._end_at("after", fault, whole)
        if fault == "flip:answer" and answer.body:
            answer = replace(answer, body=_flipped(answer.body))
        data = answer.encode(asked.method != "HEAD")
        if fault == "cut:answer":
            self.wfile.write(data[: len(data) - (len(answer.body) + 1) // 2 - 1])
            self._leave(fault, whole)
        self.wfile.write(data)

    def _read_body(self, asked: Asked, fault: str | None) -> Asked:
        if asked.headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fault in ("cut:body", "reset:body"):
            self.rfile.read(asked.length // 2)
            self._leave(fault, asked)
        body = self.rfile.read(asked.length)
        if len(body) < asked.length:
            raise _Gone
        return replace(asked, body=body)

    def _forward(self, asked: Asked) -> _Answer:
        connection = http.client.HTTPConnection(self.owner.upstream, timeout=60)
        try:
            headers = {name: value for name, value in asked.headers.items() if name not in _HOP}
            connection.request(asked.method, asked.target, asked.body or None, headers)
            given = connection.getresponse()
            return _Answer(given.status, given.reason, given.getheaders(), given.read())
        finally:
            connection.close()

    def _end_at(self, place: str, fault: str | None, asked: Asked) -> None:
        if fault in (f"cut:{place}", f"reset:{place}", f"stall:{place}"):
            self._leave(fault, asked)

    def _leave(self, fault: str, asked: Asked) -> None:
        self.owner.moment(asked, fault)
        if fault.startswith("stall"):
            self._wait(self.owner.patience)
        if fault.startswith("reset"):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()
        raise _Gone

    def _wait(self, seconds: float) -> None:
        """Until the client hangs up, or for so long."""
        select.select([self.connection], [], [], seconds)


def refusal(status: int) -> _Answer:
    """An error as S3 words it."""
    code, message = _ERRORS[status]
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return _Answer(status, code, [("Content-Type", "application/xml")], body.encode())


def _flipped(body: bytes) -> bytes:
    """One bit in the middle is another."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 4]) + body[middle + 1 :]


def _intact(asked: Asked) -> bool:
    """Do the checksums that came with the body fit it? Those that end an upload in parts are of the whole object."""
    if asked.method == "POST":
        return True
    crc = zlib.crc32(asked.body).to_bytes(4, "big")
    md5 = hashlib.md5(asked.body, usedforsecurity=False).digest()
    found = {"x-amz-checksum-crc32": crc, "content-md5": md5}
    return all(base64.b64decode(asked.headers[name]) == value for name, value in found.items() if name in asked.headers)

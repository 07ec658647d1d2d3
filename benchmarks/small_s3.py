"""An S3 server on loopback that keeps small objects, with their conditions, and drops the bytes of large ones.

    python benchmarks/small_s3.py [--keep]        # prints its address, serves until its input ends

With ``--keep`` large ones are kept too, in memory, and the kernel sends them (sendfile). It is fast enough that a
client's own limit shows, and enough of a server for ``holdfast run``. It asks for no signature.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import socketserver
import sys
import threading
from dataclasses import dataclass
from email.utils import formatdate
from typing import IO
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

KEPT = 4 << 20
PAGE = 1000
_CHUNK = 4 << 20
_XML = '<?xml version="1.0"?><{0} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{1}</{0}>'
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_tags = itertools.count(1)


@dataclass(frozen=True)
class Object:
    """``data`` is empty for a large one; its content, if it is kept, is ``large``."""

    data: bytes
    size: int
    tag: str
    large: IO[bytes] | None = None


@dataclass(frozen=True)
class Got:
    """The content of a request."""

    data: bytes
    size: int
    large: IO[bytes] | None = None


def in_memory() -> IO[bytes]:
    return os.fdopen(os.memfd_create("object"), "w+b", buffering=0)


class Objects:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.all: dict[str, Object] = {}
        self.parts: dict[str, dict[int, Got]] = {}

    def put(self, key: str, got: Got, headers: dict[str, str]) -> tuple[int, str]:
        with self.lock:
            there = self.all.get(key)
            wanted = headers.get("if-match")
            if (headers.get("if-none-match") and there) or (wanted and (there is None or there.tag != wanted)):
                return 412, ""
            self.all[key] = Object(got.data, got.size, f'"{next(_tags):032x}"', got.large)
            return 200, self.all[key].tag

    def put_part(self, key: str, number: int, got: Got) -> None:
        with self.lock:
            self.parts.setdefault(key, {})[number] = got

    def joined(self, key: str) -> Got:
        """All parts of a key, in their order."""
        with self.lock:
            parts = [part for _, part in sorted(self.parts.pop(key, {}).items())]
        size = sum(part.size for part in parts)
        if not all(part.large or part.data for part in parts):
            return Got(b"", size)
        whole = in_memory()
        for part in parts:
            if part.large is None:
                whole.write(part.data)
            else:
                os.lseek(part.large.fileno(), 0, os.SEEK_SET)
                send_all(whole.fileno(), part.large, 0, part.size)
                part.large.close()
        return Got(b"", size, whole)

    def list(self, bucket: str, query: dict[str, list[str]]) -> str:
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        with self.lock:
            found = sorted(key for key in self.all if key.startswith(f"{bucket}/{prefix}"))
        begin = int(query.get("continuation-token", ["0"])[0])
        lines, folders = [], {}
        for key in found[begin : begin + PAGE]:
            one = self.all[key]
            name = key.removeprefix(f"{bucket}/")
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                folders[prefix + rest.partition(delimiter)[0] + delimiter] = True
            else:
                lines.append(f"<Contents><Key>{escape(name)}</Key><Size>{one.size}</Size></Contents>")
        lines += [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders]
        more = begin + PAGE < len(found)
        token = f"<NextContinuationToken>{begin + PAGE}</NextContinuationToken>" if more else ""
        return f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}" + "".join(lines)


def send_all(to: int, file: IO[bytes], at: int, count: int) -> None:
    while count:
        sent = os.sendfile(to, file.fileno(), at, count)
        at, count = at + sent, count - sent


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, keep: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.objects = Objects()
        self.keep = keep

    @property
    def endpoint(self) -> str:
        return "http://{}:{}".format(*self.server_address[:2])


class _Connection(socketserver.BaseRequestHandler):
    server: Server
    request: socket.socket

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest, self._scratch = b"", bytearray(_CHUNK)
        with contextlib.suppress(OSError, EOFError):
            while True:
                self._serve()

    def _serve(self) -> None:
        method, target, headers = self._head()
        path, _, text = target.partition("?")
        query, key = parse_qs(text, keep_blank_values=True), unquote(path).lstrip("/")
        if headers.get("expect"):
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = int(headers.get("content-length", 0))
        answer = self._do(method, key, query, headers, self._content(size))
        if answer is not None:
            self._answer(method, *answer)

    def _content(self, size: int) -> Got:
        if size <= KEPT:
            return Got(self._read(size), size)
        return Got(b"", size, self._keep(size) if self.server.keep else self._drop(size))

    def _do(
        self, method: str, key: str, query: dict[str, list[str]], headers: dict[str, str], got: Got
    ) -> tuple[int, dict[str, str], bytes] | None:
        """What to answer; None where it has been sent."""
        objects = self.server.objects
        bucket, _, name = key.partition("/")
        if method == "PUT" and "partNumber" in query:
            objects.put_part(key, int(query["partNumber"][0]), got)
            return 200, {"ETag": '"part"', **_sums(headers)}, b""
        if method == "PUT" and name:
            status, tag = objects.put(key, got, headers)
            body = b"" if status == 200 else b"<Error><Code>PreconditionFailed</Code></Error>"
            return status, {"ETag": tag, **_sums(headers)}, body
        if method == "POST":
            return self._in_parts(key, bucket, name, query, headers)
        if method == "DELETE":
            with objects.lock:
                objects.all.pop(key, None)
            return 204, {}, b""
        if method == "GET" and not name:
            what = "ListMultipartUploadsResult" if "uploads" in query else "ListBucketResult"
            inside = "" if "uploads" in query else objects.list(bucket, query)
            return 200, {}, _XML.format(what, inside).encode()
        there = objects.all.get(key)
        if there is None and name:
            return 404, {}, b"" if method == "HEAD" else b"<Error><Code>NoSuchKey</Code></Error>"
        if there is None:
            return 200, {}, b""
        if method == "GET" and there.large is not None:
            self._send(there, there.large, headers)
            return None
        return 200, {"ETag": there.tag}, there.data

    def _in_parts(
        self, key: str, bucket: str, name: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        names = f"<Bucket>{bucket}</Bucket><Key>{escape(name)}</Key>"
        if "uploads" in query:
            named = ("x-amz-checksum-algorithm", "x-amz-checksum-type")
            lines = {header: headers[header] for header in named if header in headers}
            inside = names + "<UploadId>upload</UploadId>"
            return 200, lines, _XML.format("InitiateMultipartUploadResult", inside).encode()
        status, tag = self.server.objects.put(key, self.server.objects.joined(key), headers)
        inside = f"{names}<ETag>{escape(tag)}</ETag>"
        return status, {}, _XML.format("CompleteMultipartUploadResult", inside).encode()

    def _head(self) -> tuple[str, str, dict[str, str]]:
        while b"\r\n\r\n" not in self._rest:
            self._rest += self._receive(65536)
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        return method, target, {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}

    def _receive(self, most: int) -> bytes:
        data = self.request.recv(most)
        if not data:
            raise EOFError
        return data

    def _read(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._rest += self._receive(size - len(self._rest))
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _keep(self, size: int) -> IO[bytes]:
        file = in_memory()
        file.write(self._rest)
        size -= len(self._rest)
        self._rest = b""
        view = memoryview(self._scratch)
        while size:
            count = self.request.recv_into(view, min(size, _CHUNK))
            if not count:
                raise EOFError
            file.write(view[:count])
            size -= count
        return file

    def _send(self, there: Object, large: IO[bytes], headers: dict[str, str]) -> None:
        """A large object, or the range of it that was asked for."""
        first, last, status, lines = 0, there.size - 1, 200, {"ETag": there.tag}
        if match := _RANGE.fullmatch(headers.get("range", "")):
            first, last = int(match[1]), min(int(match[2] or last), last)
            status, lines["Content-Range"] = 206, f"bytes {first}-{last}/{there.size}"
        self._begin(status, {**lines, "Content-Length": str(last - first + 1)})
        send_all(self.request.fileno(), large, first, last - first + 1)

    def _drop(self, size: int) -> None:
        """Inside of the kernel: nothing is copied to here."""
        size -= len(self._rest)
        self._rest = b""
        while size:
            gone = self.request.recv_into(self._scratch, min(size, _CHUNK), socket.MSG_TRUNC)
            if not gone:
                raise EOFError
            size -= gone

    def _answer(self, method: str, status: int, headers: dict[str, str], body: bytes) -> None:
        self._begin(status, {**headers, "Content-Length": str(len(body))}, b"" if method == "HEAD" else body)

    def _begin(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        lines = {**headers, "Date": formatdate(usegmt=True)}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value != "")
        self.request.sendall(f"HTTP/1.1 {status} OK\r\n{text}\r\n".encode() + body)


def _sums(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("x-amz-checksum-")}


def main() -> None:
    with Server(keep="--keep" in sys.argv[1:]) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.endpoint, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

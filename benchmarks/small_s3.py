"""An S3 server on loopback that keeps small objects, with their conditions, and drops the bytes of large ones.

    python benchmarks/small_s3.py        # prints its address, serves until its input ends

It is fast enough that a client's own limit shows, and enough of a server for ``holdfast run``. It asks for no
signature.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import sys
import threading
from dataclasses import dataclass
from email.utils import formatdate
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

KEPT = 4 << 20
PAGE = 1000
_CHUNK = 4 << 20
_XML = '<?xml version="1.0"?><{0} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{1}</{0}>'
_tags = itertools.count(1)


@dataclass(frozen=True)
class Object:
    data: bytes  # empty for a large one
    size: int
    tag: str


class Objects:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.all: dict[str, Object] = {}
        self.parts: dict[str, int] = {}

    def put(self, key: str, data: bytes, size: int, headers: dict[str, str]) -> tuple[int, str]:
        with self.lock:
            there = self.all.get(key)
            wanted = headers.get("if-match")
            if (headers.get("if-none-match") and there) or (wanted and (there is None or there.tag != wanted)):
                return 412, ""
            self.all[key] = Object(data, size, f'"{next(_tags):032x}"')
            return 200, self.all[key].tag

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


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.objects = Objects()

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
        data = self._read(size) if size <= KEPT else self._drop(size)
        self._answer(method, *self._do(method, key, query, headers, data, size))

    def _do(
        self, method: str, key: str, query: dict[str, list[str]], headers: dict[str, str], data: bytes, size: int
    ) -> tuple[int, dict[str, str], bytes]:
        objects = self.server.objects
        bucket, _, name = key.partition("/")
        if method == "PUT" and "partNumber" in query:
            with objects.lock:
                objects.parts[key] = objects.parts.get(key, 0) + size
            return 200, {"ETag": '"part"', **_sums(headers)}, b""
        if method == "PUT" and name:
            status, tag = objects.put(key, data, size, headers)
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
        return 200, {"ETag": there.tag if there else ""}, there.data if there else b""

    def _in_parts(
        self, key: str, bucket: str, name: str, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        names = f"<Bucket>{bucket}</Bucket><Key>{escape(name)}</Key>"
        if "uploads" in query:
            named = ("x-amz-checksum-algorithm", "x-amz-checksum-type")
            lines = {header: headers[header] for header in named if header in headers}
            inside = names + "<UploadId>upload</UploadId>"
            return 200, lines, _XML.format("InitiateMultipartUploadResult", inside).encode()
        with self.server.objects.lock:
            size = self.server.objects.parts.pop(key, 0)
        status, tag = self.server.objects.put(key, b"", size, headers)
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

    def _drop(self, size: int) -> bytes:
        """Inside of the kernel: nothing is copied to here."""
        size -= len(self._rest)
        self._rest = b""
        while size:
            gone = self.request.recv_into(self._scratch, min(size, _CHUNK), socket.MSG_TRUNC)
            if not gone:
                raise EOFError
            size -= gone
        return b""

    def _answer(self, method: str, status: int, headers: dict[str, str], body: bytes) -> None:
        lines = {**headers, "Content-Length": len(body), "Date": formatdate(usegmt=True)}
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value != "")
        self.request.sendall(f"HTTP/1.1 {status} OK\r\n{text}\r\n".encode() + (b"" if method == "HEAD" else body))


def _sums(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("x-amz-checksum-")}


def main() -> None:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.endpoint, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

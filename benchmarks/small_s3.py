"""An S3 server on loopback that keeps small objects, with their conditions, and drops the bytes of large ones.

    python benchmarks/small_s3.py [--keep] [--round-trip MS]    # prints its address, serves until its input ends

With ``--keep`` large ones are kept too, in memory, and the kernel sends them (sendfile). It is fast enough that a
client's own limit shows, and enough of a server for ``holdfast run``. It asks for no signature. With ``--round-trip``
each connection and each answer takes so many milliseconds, as over a network.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import itertools
import os
import re
import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import IO
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from holdfast.spool import whole_crc32

KEPT = 4 << 20
PAGE = 1000
_CHUNK = 4 << 20
_XML = '<?xml version="1.0"?><{0} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{1}</{0}>'
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_tags = itertools.count(1)


@dataclass(frozen=True)
class Object:
    """``data`` is empty for a large one; its content, if it is kept, is ``large``. ``parts`` are those that it was
    uploaded in.
    """

    data: bytes
    size: int
    tag: str
    large: IO[bytes] | None = None
    parts: tuple[Got, ...] = ()


@dataclass(frozen=True)
class Got:
    """The content of a request, with the CRC-32 that it says it has, or of an upload, with its parts."""

    data: bytes
    size: int
    large: IO[bytes] | None = None
    crc32: int | None = None
    parts: tuple[Got, ...] = ()


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
            self.all[key] = Object(got.data, got.size, _new_tag(), got.large, got.parts)
            return 200, self.all[key].tag

    def put_part(self, key: str, number: int, got: Got) -> None:
        with self.lock:
            self.parts.setdefault(key, {})[number] = got

    def copied(self, source: str, first: int, last: int, wanted: str) -> tuple[int, Got]:
        """A range of an object. Where its parts came with a CRC-32 and the range is some of them, it has one."""
        there = self.all.get(source)
        if there is None or there.tag != wanted:
            return 404 if there is None else 412, Got(b"", 0)
        size, crc32 = last - first + 1, _joined(there.parts, first, last)
        if there.large is None:
            return 200, Got(there.data[first : last + 1], size, None, crc32)
        content = in_memory()
        send_all(content.fileno(), there.large, first, size)
        return 200, Got(b"", size, content, crc32)

    def joined(self, key: str) -> Got:
        """All parts of a key, in their order."""
        with self.lock:
            parts = [part for _, part in sorted(self.parts.pop(key, {}).items())]
        size, said = sum(part.size for part in parts), tuple(Got(b"", part.size, crc32=part.crc32) for part in parts)
        if not all(part.large or part.data for part in parts):
            return Got(b"", size, parts=said)
        whole = in_memory()
        for part in parts:
            if part.large is None:
                whole.write(part.data)
            else:
                os.lseek(part.large.fileno(), 0, os.SEEK_SET)
                send_all(whole.fileno(), part.large, 0, part.size)
                part.large.close()
        return Got(b"", size, whole, parts=said)

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


def _joined(parts: tuple[Got, ...], first: int, last: int) -> int | None:
    at, found = 0, []
    for part in parts:
        if first <= at and at + part.size <= last + 1:
            found.append(part)
        at += part.size
    if sum(part.size for part in found) != last - first + 1:
        return None
    sums = [(part.crc32, part.size) for part in found if part.crc32 is not None]
    return whole_crc32(sums) if len(sums) == len(found) else None


def _number(text: str) -> int:
    return int.from_bytes(base64.b64decode(text), "big")


def _base64(crc32: int) -> str:
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()


def _new_tag() -> str:
    return f'"{next(_tags):032x}"'


def send_all(to: int, file: IO[bytes], at: int, count: int) -> None:
    while count:
        sent = os.sendfile(to, file.fileno(), at, count)
        at, count = at + sent, count - sent


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, keep: bool = False, round_trip: float = 0.0) -> None:
        """``round_trip`` is in seconds."""
        super().__init__(("127.0.0.1", 0), _Connection)
        self.objects = Objects()
        self.keep = keep
        self.round_trip = round_trip

    @property
    def endpoint(self) -> str:
        return "http://{}:{}".format(*self.server_address[:2])


class _Connection(socketserver.BaseRequestHandler):
    server: Server
    request: socket.socket

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest, self._scratch = b"", bytearray(_CHUNK)
        self._travel()
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
        self._travel()
        answer = self._do(method, key, query, headers, self._content(size))
        if answer is not None:
            self._answer(method, *answer)

    def _travel(self) -> None:
        if self.server.round_trip:
            time.sleep(self.server.round_trip)

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
            number = int(query["partNumber"][0])
            if "x-amz-copy-source" in headers:
                return self._copy(key, number, headers)
            sums = _sums(headers)
            crc32 = sums.get("x-amz-checksum-crc32")
            objects.put_part(key, number, replace(got, crc32=None if crc32 is None else _number(crc32)))
            return 200, {"ETag": _new_tag(), **sums}, b""
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

    def _copy(self, key: str, number: int, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        source = unquote(headers["x-amz-copy-source"]).lstrip("/")
        match = _RANGE.fullmatch(headers.get("x-amz-copy-source-range", ""))
        if match is None or not match[2]:
            return 501, {}, b"<Error><Code>NotImplemented</Code></Error>"
        wanted = headers.get("x-amz-copy-source-if-match", "")
        status, got = self.server.objects.copied(source, int(match[1]), int(match[2]), wanted)
        if status != 200:
            return status, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
        self.server.objects.put_part(key, number, got)
        sums = "" if got.crc32 is None else f"<ChecksumCRC32>{_base64(got.crc32)}</ChecksumCRC32>"
        return 200, {}, _XML.format("CopyPartResult", f"<ETag>{escape(_new_tag())}</ETag>{sums}").encode()

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
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--round-trip", type=float, default=0.0)
    given = parser.parse_args()
    with Server(given.keep, given.round_trip / 1000) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.endpoint, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()

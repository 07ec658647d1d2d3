"""An S3 server for benchmarks that keeps nothing: what it is sent it drops, what it is asked for it makes up.

    python benchmarks/transfer_sink.py [--size BYTES]        # prints its port, serves until its input ends

It answers PutObject, the calls of an upload in parts, GetObject with ranges, HeadObject and ListObjectsV2, and asks for
no signature. It costs as little as it can, so that a client's own limit shows: bodies are dropped inside of the kernel
(MSG_TRUNC), and answers come from one piece of memory by sendfile. Every object has the same size.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import socket
import socketserver
import sys
import threading

CHUNK = 4 << 20
PIECE = 16 << 20
_XML = "<?xml version='1.0'?><{0} xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>{1}</{0}>"


class Sink(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, size: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.size = size
        self.memory = os.memfd_create("answers")
        os.write(self.memory, os.urandom(1 << 20) * (PIECE >> 20))

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: clients hang up."""


class _Connection(socketserver.BaseRequestHandler):
    server: Sink
    request: socket.socket

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._scratch = bytearray(CHUNK)
        self._rest = b""

    def handle(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                self._serve()

    def _serve(self) -> None:
        method, target, headers = self._head()
        if headers.get("expect"):
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            raise EOFError("no client that is compared sends so")
        self._drop(int(headers.get("content-length", 0)))
        path, _, query = target.partition("?")
        if method in ("GET", "HEAD") and path.count("/") > 1 and path[-1] != "/":
            self._content(method, headers.get("range", ""))
        else:
            self._answer(*_say(method, path, query, headers, self.server.size))

    def _head(self) -> tuple[str, str, dict[str, str]]:
        while b"\r\n\r\n" not in self._rest:
            data = self.request.recv(65536)
            if not data:
                raise EOFError
            self._rest += data
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        return method, target, {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}

    def _drop(self, count: int) -> None:
        have = min(count, len(self._rest))
        self._rest, count = self._rest[have:], count - have
        while count:
            dropped = self.request.recv_into(self._scratch, min(count, CHUNK), socket.MSG_TRUNC)
            if not dropped:
                raise EOFError
            count -= dropped

    def _content(self, method: str, wanted: str) -> None:
        size, first, last = self.server.size, 0, self.server.size - 1
        lines = {"ETag": '"0123456789abcdef0123456789abcdef"', "Accept-Ranges": "bytes"}
        lines["Last-Modified"] = "Mon, 23 Nov 2026 10:00:00 GMT"
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", wanted):
            first, last = int(match[1]), min(int(match[2] or last), last)
            lines["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._head_of_answer(206 if match else 200, last + 1 - first, lines)
        at = first
        while method == "GET" and at <= last:
            offset = at % PIECE
            at += os.sendfile(self.request.fileno(), self.server.memory, offset, min(last + 1 - at, PIECE - offset))

    def _answer(self, status: int, lines: dict[str, str], body: str) -> None:
        self._head_of_answer(status, len(body), {"Content-Type": "application/xml", **lines}, body)

    def _head_of_answer(self, status: int, length: int, lines: dict[str, str], body: str = "") -> None:
        text = "".join(f"{name}: {value}\r\n" for name, value in {**lines, "Content-Length": length}.items())
        self.request.sendall(f"HTTP/1.1 {status} OK\r\n{text}\r\n{body}".encode())


def _say(method: str, path: str, query: str, headers: dict[str, str], size: int) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of what is not content. As S3 does, it names the checksums that it would verify."""
    key = path.lstrip("/").partition("/")[2]
    if method == "DELETE":
        return 204, {}, ""
    if method == "POST" and query.startswith("uploads"):
        named = ("x-amz-checksum-algorithm", "x-amz-checksum-type")
        lines = {name: headers[name] for name in named if name in headers}
        names = f"<Bucket>bench</Bucket><Key>{key}</Key><UploadId>upload</UploadId>"
        return 200, lines, _XML.format("InitiateMultipartUploadResult", names)
    if method == "POST":
        names = f"<Location>/</Location><Bucket>bench</Bucket><Key>{key}</Key><ETag>&quot;0-2&quot;</ETag>"
        return 200, {}, _XML.format("CompleteMultipartUploadResult", names)
    if method == "GET":
        entry = f"<Contents><Key>key</Key><Size>{size}</Size><LastModified>2026-11-23T10:00:00.000Z</LastModified>"
        entry += "<ETag>&quot;0&quot;</ETag><StorageClass>STANDARD</StorageClass></Contents>"
        return 200, {}, _XML.format("ListBucketResult", f"<IsTruncated>false</IsTruncated><Name>bench</Name>{entry}")
    sums = {name: value for name, value in headers.items() if name.startswith("x-amz-checksum-")}
    return 200, {"ETag": '"0123456789abcdef0123456789abcdef"', **sums}, ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1 << 30, help="of every object, in bytes")
    with Sink(parser.parse_args().size) as sink:
        print(sink.server_address[1], flush=True)
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        sys.stdin.read()
        os._exit(0)


if __name__ == "__main__":
    main()

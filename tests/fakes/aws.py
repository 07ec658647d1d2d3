"""A door before moto that writes down who called what, and serves what moto lacks of Auto Scaling."""

from __future__ import annotations

import http.client
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

_COMPLETED = """<CompleteLifecycleActionResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">
<CompleteLifecycleActionResult/><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>
</CompleteLifecycleActionResponse>"""


@dataclass(frozen=True)
class Call:
    """``operation`` is an API's name of it, as ``PutObject``; ``key`` the object's, or '' for the bucket."""

    service: str
    operation: str
    key: str = ""
    fields: tuple[tuple[str, str], ...] = ()


class Door:
    """Serves while it is entered. ``calls`` is all that came through, in order.

    ``watch`` sees each call before it is passed on; when it says True, the answer is 500 instead. ``refuse`` sees its
    headers too, by their names in lower case, and may give a status, an S3 error's code and its message to answer with.
    """

    def __init__(
        self,
        behind: str,
        watch: Callable[[Call], bool] = lambda call: False,
        refuse: Callable[[Call, dict[str, str]], tuple[int, str, str] | None] = lambda call, headers: None,
    ) -> None:
        self.behind = urllib.parse.urlsplit(behind).netloc
        self.watch = watch
        self.refuse = refuse
        self.calls: list[Call] = []
        door = self

        class Handler(_Handler):
            owner = door

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def made(self, service: str) -> list[Call]:
        return [call for call in self.calls if call.service == service]

    def __enter__(self) -> Door:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def understand(method: str, path: str, headers: Any, body: bytes) -> Call:
    """Reads a request as AWS does: the service from the signature, the operation from its protocol."""
    signed = re.search(r"Credential=[^/]+/\d+/[^/]+/(\w+)/", headers.get("Authorization", ""))
    service = signed[1] if signed else "unsigned"
    if service != "s3":
        fields = dict(urllib.parse.parse_qsl(body.decode()))
        return Call(service, fields.get("Action", ""), fields=tuple(sorted(fields.items())))
    parts = urllib.parse.urlsplit(path)
    query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    key = urllib.parse.unquote(parts.path).strip("/").partition("/")[2]
    return Call("s3", _s3_operation(method, key, query), key)


def _s3_operation(method: str, key: str, query: dict[str, str]) -> str:
    where = "object" if key else "bucket"
    part = next((name for name in ("uploads", "uploadId", "versions", "list-type") if name in query), "")
    return {
        ("bucket", "GET", "list-type"): "ListObjectsV2",
        ("bucket", "GET", "uploads"): "ListMultipartUploads",
        ("bucket", "GET", "versions"): "ListObjectVersions",
        ("bucket", "HEAD", ""): "HeadBucket",
        ("object", "GET", ""): "GetObject",
        ("object", "GET", "uploadId"): "ListParts",
        ("object", "HEAD", ""): "HeadObject",
        ("object", "PUT", ""): "PutObject",
        ("object", "PUT", "uploadId"): "UploadPart",
        ("object", "POST", "uploads"): "CreateMultipartUpload",
        ("object", "POST", "uploadId"): "CompleteMultipartUpload",
        ("object", "DELETE", ""): "DeleteObject",
        ("object", "DELETE", "uploadId"): "AbortMultipartUpload",
    }.get((where, method, part), f"unknown: {method} {where} {part}")


class _Handler(BaseHTTPRequestHandler):
    owner: Door
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        call = understand(self.command, self.path, self.headers, body)
        self.owner.calls.append(call)
        if self.owner.watch(call):
            self._answer(500, [], b"")
            return
        refused = self.owner.refuse(call, {name.lower(): value for name, value in self.headers.items()})
        if refused is not None:
            status, code, message = refused
            text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
            self._answer(status, [("Content-Type", "application/xml")], text.encode())
            return
        if call.operation == "CompleteLifecycleAction":
            self._answer(200, [("Content-Type", "text/xml")], _COMPLETED.encode())
            return
        behind = http.client.HTTPConnection(self.owner.behind, timeout=30)
        behind.request(self.command, self.path, body, dict(self.headers))
        answer = behind.getresponse()
        self._answer(answer.status, answer.getheaders(), answer.read())
        behind.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.close_connection = True
        self.send_response_only(status)
        for key, value in headers:
            if key.lower() not in ("connection", "transfer-encoding") and (
                key.lower() != "content-length" or self.command == "HEAD"
            ):
                self.send_header(key, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent: the calls are kept instead."""

"""A metadata service on loopback that speaks IMDSv2 as EC2's does, and gives the notices that the drill sets."""

from __future__ import annotations

import json
import secrets
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_NOT_FOUND = """<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head><title>404 - Not Found</title></head>
 <body><h1>404 - Not Found</h1></body>
</html>
"""


class MetadataService:
    """Serves while it is entered. ``documents`` maps a path under /latest/meta-data/ to its body; others are 404.

    ``address`` is for a network namespace where EC2's own, 169.254.169.254, port 80, can be had: make it from a thread
    that is in there.
    """

    def __init__(self, token_seconds: int | None = None, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.documents: dict[str, str] = {"autoscaling/target-lifecycle-state": "InService"}
        self.requests: list[str] = []
        self.status: int | None = None
        self._token_seconds = token_seconds
        self._tokens: dict[str, datetime] = {}
        service = self

        class Handler(_Handler):
            owner = service

        self._server = _Server(address, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        return "http://{}:{}".format(*self._server.server_address[:2])

    def __enter__(self) -> MetadataService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def interrupt(self, action: str = "terminate", seconds: float = 120) -> None:
        """A spot notice, as EC2 words it."""
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        self.documents["spot/instance-action"] = json.dumps({"action": action, "time": f"{at:%Y-%m-%dT%H:%M:%SZ}"})

    def recommend_rebalance(self) -> None:
        now = datetime.now(UTC)
        self.documents["events/recommendations/rebalance"] = json.dumps({"noticeTime": f"{now:%Y-%m-%dT%H:%M:%SZ}"})

    def schedule_maintenance(self, seconds: float, state: str = "active") -> None:
        begin = datetime.now(UTC) + timedelta(seconds=seconds)
        event = {
            "Code": "system-reboot",
            "Description": "scheduled reboot",
            "EventId": "instance-event-0d59937288b749b32",
            "NotBefore": f"{begin:%d %b %Y %H:%M:%S} GMT",
            "NotAfter": f"{begin + timedelta(hours=2):%d %b %Y %H:%M:%S} GMT",
            "NotBeforeDeadline": f"{begin + timedelta(days=7):%d %b %Y %H:%M:%S} GMT",
            "State": state,
        }
        self.documents["events/maintenance/scheduled"] = json.dumps([event])

    def clear(self) -> None:
        """A new machine: no notice stands."""
        self.documents = {"autoscaling/target-lifecycle-state": "InService"}

    def forget_tokens(self) -> None:
        self._tokens.clear()

    def new_token(self, seconds: int) -> str:
        token = secrets.token_urlsafe(40)
        self._tokens[token] = datetime.now(UTC) + timedelta(seconds=self._token_seconds or seconds)
        return token

    def knows(self, token: str | None) -> bool:
        return token is not None and self._tokens.get(token, datetime.min.replace(tzinfo=UTC)) > datetime.now(UTC)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle of a request is nothing to report."""


class _Handler(BaseHTTPRequestHandler):
    owner: MetadataService
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.owner.requests.append(f"PUT {self.path}")
        wanted = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token":
            self._answer(404, _NOT_FOUND)
        elif not wanted.isdigit() or not 1 <= int(wanted) <= 21600:
            self._answer(400, "")
        else:
            self._answer(200, self.owner.new_token(int(wanted)), {"X-aws-ec2-metadata-token-ttl-seconds": wanted})

    def do_GET(self) -> None:
        self.owner.requests.append(f"GET {self.path}")
        body = self.owner.documents.get(self.path.removeprefix("/latest/meta-data/"))
        if not self.owner.knows(self.headers.get("X-aws-ec2-metadata-token")):
            self._answer(401, "")
        elif self.owner.status is not None:
            self._answer(self.owner.status, "")
        elif body is None:
            self._answer(404, _NOT_FOUND)
        else:
            self._answer(200, body)

    def _answer(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        data = body.encode()
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), "Content-Type": "text/plain", **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Silent: the requests are kept instead."""

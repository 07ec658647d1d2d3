"""Interruption notices from the EC2 instance metadata service, over IMDSv2.

404 means that there is no notice, 401 that the token must be renewed; any other trouble is a warning and never an
interruption. The habits are those of aws-node-termination-handler: a poll every 2 s with a 2 s timeout, the token
renewed 15 s before its end. botocore's own fetcher is no help: it turns 'no notice' (404) into 'unreachable'.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ..core.errors import HoldfastError, SettingsError
from ..core.events import Event, NoNotice, NoticeStands, RebalanceRecommended

DEFAULT_ENDPOINT = "http://169.254.169.254"
SPOT = "spot/instance-action"
REBALANCE = "events/recommendations/rebalance"
MAINTENANCE = "events/maintenance/scheduled"
LIFECYCLE = "autoscaling/target-lifecycle-state"
PATHS = (SPOT, REBALANCE, MAINTENANCE, LIFECYCLE)
_LEAVING = ("Terminated", "Warmed:Terminated", "Warmed:Stopped", "Warmed:Hibernated")
_TOKEN_SECONDS = 21600
_UNHEARD = (
    "the metadata service takes the question for a token and its answer does not arrive, as in a container on an"
    " instance with a hop limit of 1, so only signals can announce an interruption; set the limit to 2:"
    " aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2"
)
_MAX_BODY = 1 << 16


class MetadataAbsent(HoldfastError):
    """Nothing answers: this is not EC2, or a container that the answers don't reach."""


class MetadataUnheard(MetadataAbsent):
    """It takes connections, and its answers do not arrive: the mark of a container behind a hop limit of 1."""


class MetadataError(HoldfastError):
    """The service answered with something that is neither a document nor 404."""


class MetadataClient:
    """The small part of IMDSv2 that notices need. One request at a time."""

    def __init__(self, endpoint: str, clock: Callable[[], float], timeout: float = 2.0) -> None:
        try:
            parts = urllib.parse.urlsplit(endpoint)
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host = None
        if not host or parts.scheme != "http":
            raise SettingsError(f"AWS_EC2_METADATA_SERVICE_ENDPOINT {endpoint!r}: give http://host[:port]")
        self._host, self._port = host, port
        self._prefix = parts.path.rstrip("/")
        self._clock = clock
        self._timeout = timeout
        self._token = ""
        self._token_until = 0.0

    def read(self, path: str) -> str | None:
        """The document at ``/latest/meta-data/<path>``, None for 404.

        Raises MetadataAbsent or MetadataError.
        """
        for _ in range(2):
            status, body = self._request(
                "GET", f"/latest/meta-data/{path}", {"X-aws-ec2-metadata-token": self._fresh()}
            )
            if status != 401:
                break
            self._token = ""
        if status == 404:
            return None
        if status != 200:
            raise MetadataError(f"{path}: the metadata service answered {status}")
        return body

    def _fresh(self) -> str:
        if not self._token or self._clock() >= self._token_until:
            status, body = self._request(
                "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_SECONDS)}
            )
            token = body.strip()
            if status != 200 or not token or not token.isascii() or not token.isprintable():
                raise MetadataError(f"the metadata service gave no token ({status})")
            self._token = token
            self._token_until = self._clock() + _TOKEN_SECONDS - 15
        return self._token

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        connected = False
        try:
            connection.connect()
            connected = True
            connection.request(method, self._prefix + path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, self._body(answer).decode("utf-8", "replace")
        except (OSError, UnicodeError) as error:
            unheard = connected and method == "PUT" and isinstance(error, TimeoutError)
            raise (MetadataUnheard if unheard else MetadataAbsent)(f"{self._host}:{self._port}: {error}") from None
        except http.client.HTTPException as error:
            raise MetadataError(f"{path}: {type(error).__name__}: {error}") from None
        finally:
            connection.close()

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        """The socket's timeout is for each read; this one is for all of them."""
        until, body = time.monotonic() + self._timeout, b""
        while len(body) < _MAX_BODY and (chunk := answer.read1(_MAX_BODY)):
            body += chunk
            if time.monotonic() > until:
                raise MetadataError("the metadata service answers too slowly")
        return body


@dataclass(frozen=True)
class Reading:
    """What one look at the metadata service amounts to."""

    stands: NoticeStands | None = None
    rebalance: bool = False
    scheduled: str | None = None
    warnings: tuple[str, ...] = ()


def interpret(documents: Mapping[str, str | None], now: datetime, drain_time: float) -> Reading:
    """Reads the four documents (None where there is none); what makes no sense becomes a warning."""
    warnings: list[str] = []
    found: dict[str, Any] = {}
    for path, reader in _READERS.items():
        text = documents.get(path)
        try:
            found[path] = None if text is None else reader(text, now)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            warnings.append(f"{path}: not understood: {text[:80]!r}" if text else f"{path}: empty answer")
            found[path] = None
    due, scheduled = _maintenance_due(found[MAINTENANCE], drain_time)
    stands = [notice for notice in (found[SPOT], found[LIFECYCLE], due) if notice is not None]
    soonest = min(stands, key=lambda n: drain_time if n.seconds is None else n.seconds, default=None)
    return Reading(soonest, bool(found[REBALANCE]), scheduled, tuple(warnings))


def _spot(text: str, now: datetime) -> NoticeStands:
    document = json.loads(text)
    action = document["action"]
    if action not in ("terminate", "stop", "hibernate"):
        raise ValueError(action)
    at = datetime.strptime(document["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    # Hibernation begins at once, freezes everything, and goes on later: there is no deadline to count down to.
    seconds = None if action == "hibernate" else (at - now).total_seconds()
    return NoticeStands(f"spot notice ({action} at {at:%H:%M:%S} UTC)", seconds)


def _rebalance(text: str, now: datetime) -> bool:
    return bool(json.loads(text)["noticeTime"])


def _maintenance(text: str, now: datetime) -> list[tuple[str, float]]:
    events = []
    for event in json.loads(text):
        if event["State"] == "active":
            at = datetime.strptime(event["NotBefore"], "%d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
            events.append(
                (f"scheduled maintenance ({event['Code']} at {at:%d %b %H:%M:%S} UTC)", (at - now).total_seconds())
            )
    return events


def _maintenance_due(
    events: list[tuple[str, float]] | None, drain_time: float
) -> tuple[NoticeStands | None, str | None]:
    """The event that it is time to drain for, and the next one that is still ahead."""
    if not events:
        return None, None
    what, seconds = min(events, key=lambda event: event[1])
    if seconds <= drain_time:
        return NoticeStands(what, seconds), None
    return None, what


def _lifecycle(text: str, now: datetime) -> NoticeStands | None:
    state = text.strip()
    if not state or len(state) > 40 or not state.replace(":", "").isalnum():
        raise ValueError(state)
    return NoticeStands(f"Auto Scaling is taking this machine away ({state})") if state in _LEAVING else None


_READERS: dict[str, Callable[[str, datetime], Any]] = {
    SPOT: _spot,
    REBALANCE: _rebalance,
    MAINTENANCE: _maintenance,
    LIFECYCLE: _lifecycle,
}


@dataclass
class Watcher:
    """Polls in a thread of its own and reports what changes.

    Its first look is always reported, by NoNotice or NoticeStands: nothing is started before it.
    """

    client: MetadataClient | None
    report: Callable[[Event], None]
    say: Callable[[str, str], None]
    drain_time: float
    interval: float = 2.0
    rest: float = 60.0
    rebalance_stands: bool = False
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    _last: Reading | None = None
    _absent: bool = False
    _said: set[str] = field(default_factory=set)
    _done: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=self.run, name="notices", daemon=True).start()

    def stop(self) -> None:
        self._done.set()

    def run(self) -> None:
        while not self._done.is_set():
            self.look()
            self._done.wait(self.rest if self._absent else self.interval)

    def look(self) -> None:
        """One poll. Whatever happens, the first one reports whether a notice stands."""
        try:
            reading = self._read()
        except MetadataAbsent as error:
            if self._last is not None and not self._absent:  # it answered before: a hiccup
                self._once("metadata-warning", f"no answer from the metadata service: {error}")
                return
            if isinstance(error, MetadataUnheard):
                self._once("metadata-warning", f"{_UNHEARD} ({error})")
            else:
                self._once(
                    "no-metadata", f"no metadata service here ({error}): only signals can announce an interruption"
                )
            reading, self._absent = Reading(), True
        for warning in reading.warnings:
            self._once("metadata-warning", warning)
        if reading.scheduled:
            self._once("maintenance", f"{reading.scheduled}: draining {self.drain_time:.0f} s before")
        self._tell(reading)

    def _read(self) -> Reading:
        if self.client is None:
            self._once("no-metadata", "the metadata service is disabled (AWS_EC2_METADATA_DISABLED)")
            self._absent = True
            return Reading()
        documents: dict[str, str | None] = {}
        troubles: list[str] = []
        for path in PATHS:
            try:
                documents[path] = self.client.read(path)
            except MetadataError as error:
                troubles.append(str(error))
        self._absent = False
        reading = interpret(documents, self.wall(), self.drain_time)
        reading = replace(reading, warnings=(*troubles, *reading.warnings))
        if self.rebalance_stands and reading.rebalance and reading.stands is None:
            reading = replace(reading, stands=NoticeStands("rebalance recommendation"), rebalance=False)
        return self._with_what_stood(reading) if reading.warnings else reading

    def _with_what_stood(self, reading: Reading) -> Reading:
        """A document that cannot be had, or makes no sense, takes nothing back."""
        last = self._last or Reading()
        return replace(reading, stands=reading.stands or last.stands, rebalance=reading.rebalance or last.rebalance)

    def _tell(self, reading: Reading) -> None:
        last, self._last = self._last, reading
        if reading.stands is not None:
            # The deadline is the first notice's: a service may move the time with every request.
            if (
                last is None
                or last.stands is None
                or last.stands.what.split("(")[0] != reading.stands.what.split("(")[0]
            ):
                self.report(reading.stands)
        elif last is None or last.stands is not None:
            self.report(NoNotice())
        if reading.rebalance and not (last and last.rebalance):
            self.report(RebalanceRecommended())

    def _once(self, kind: str, text: str) -> None:
        if text not in self._said and len(self._said) < 100:
            self._said.add(text)
            self.say(kind, text)


def client_from_environment(environment: Mapping[str, str], clock: Callable[[], float]) -> MetadataClient | None:
    """None where the AWS SDK's own variable disables the service. Raises SettingsError for a bad endpoint."""
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    return MetadataClient(environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or DEFAULT_ENDPOINT, clock)

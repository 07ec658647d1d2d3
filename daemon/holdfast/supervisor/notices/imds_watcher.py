"""Interruption notices: what the EC2 instance metadata service says, read, and watched for changes.

Any trouble with the service is a warning and never an interruption. The habits are those of
aws-node-termination-handler: a poll every 2 s, the deadline taken from the first notice.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ...core.imds_paths import LIFECYCLE, MAINTENANCE, REBALANCE, SPOT
from ...core.machine.events import Event, NoNotice, NoticeStands, RebalanceRecommended
from .imds import MetadataClient, MetadataRefused
from .metadata_http import MetadataAbsent, MetadataError, MetadataUnheard

_LEAVING = ("Terminated", "Warmed:Terminated", "Warmed:Stopped", "Warmed:Hibernated")
_UNHEARD = (
    "the metadata service gives no token, as in a container on an instance with a hop limit of 1. Spot notices are"
    " not seen, only signals. Set the limit to 2:"
    " aws ec2 modify-instance-metadata-options --instance-id ID --http-put-response-hop-limit 2"
)


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
    stands = [notice for notice in (*found.values(), due) if isinstance(notice, NoticeStands)]
    soonest = min(stands, key=lambda n: drain_time if n.seconds is None else n.seconds, default=None)
    return Reading(soonest, bool(found[REBALANCE]), scheduled, tuple(warnings))


def _spot(text: str, now: datetime) -> NoticeStands:
    document = json.loads(text)
    action = document["action"]
    if action not in ("terminate", "stop", "hibernate"):
        raise ValueError(action)
    at = datetime.strptime(document["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    # Hibernation begins at once, freezes everything, and resumes later: there is no deadline to count down to.
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
PATHS = tuple(_READERS)
"""The documents that are asked for."""


@dataclass
class Watcher:
    """Polls in a thread of its own and reports what changes.

    Its first look is always reported, by NoNotice or NoticeStands: nothing is started before it. ``expected``: there is
    to be a service, as on EC2. Where it is not, one that gives no token is none, and no trouble.
    """

    client: MetadataClient | None
    report: Callable[[Event], None]
    say: Callable[[str, str], None]
    drain_time: float
    interval: float = 2.0
    rebalance_stands: bool = False
    expected: bool = True
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    name: str = "aws"
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
            self._done.wait(self.interval)

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
        except MetadataRefused as error:
            self._once(
                "metadata-refused", f"no metadata service here ({error}): only signals can announce an interruption"
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
                if isinstance(error, MetadataRefused) and not self.expected and (self._absent or self._last is None):
                    raise
                troubles.append(str(error))
            except MetadataAbsent as error:
                if not (documents or troubles):
                    raise
                troubles.append(f"{path}: no answer: {error}")  # it is there, and may have said what matters
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
                self.report(replace(reading.stands, source=self.name))
        elif last is None or last.stands is not None:
            self.report(NoNotice(self.name))
        if reading.rebalance and not (last and last.rebalance):
            self.report(RebalanceRecommended())

    def _once(self, kind: str, text: str) -> None:
        if text not in self._said and len(self._said) < 100:
            self._said.add(text)
            self.say(kind, text)

"""Azure's Scheduled Events: eviction of a spot machine, and maintenance that ends or restarts one.

The document lists ``Events`` with EventType (Preempt, Terminate, Reboot, Redeploy, Freeze), Resources (names of
machines, also of others in the same set), EventStatus (Scheduled, Started) and NotBefore, as in
``Mon, 19 Sep 2016 18:29:47 GMT``, which is empty once it has started. Nothing is acknowledged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ...core.machine.events import NoticeStands
from .metadata_http import MetadataEndpoint, MetadataError

ENDPOINT_VARIABLE = "AZURE_METADATA_ENDPOINT"  # Azure itself has no variable for it
DEFAULT_ENDPOINT = "http://169.254.169.254"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
_HEADER = {"Metadata": "true"}
_WORDS = {
    "Preempt": "spot eviction",
    "Terminate": "scheduled deletion",
    "Reboot": "scheduled maintenance",
    "Redeploy": "scheduled maintenance",
}  # Freeze is a pause of some seconds


class AzureMetadata:
    """An event that is further ahead than ``drain_time`` seconds is none yet."""

    def __init__(
        self, endpoint: MetadataEndpoint, drain_time: float, wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._endpoint = endpoint
        self._drain_time = drain_time
        self._wall = wall
        self._name: str | None = None

    def ask(self) -> NoticeStands | None:
        """Raises MetadataAbsent or MetadataError."""
        text = self._read(EVENTS)
        try:
            found = [self._notice(event) for event in json.loads(text)["Events"] if self._is_mine(event)]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise MetadataError(f"Scheduled Events are not understood: {text[:80]!r}") from None
        due = [notice for notice in found if notice is not None and (notice.seconds or 0.0) <= self._drain_time]
        return min(due, key=lambda notice: notice.seconds or 0.0, default=None)

    def _notice(self, event: dict[str, Any]) -> NoticeStands | None:
        kind = event["EventType"]
        if kind not in _WORDS:
            return None
        if not event.get("NotBefore"):
            return NoticeStands(f"{_WORDS[kind]} ({kind}, begun)", 0.0)
        at = datetime.strptime(event["NotBefore"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
        return NoticeStands(f"{_WORDS[kind]} ({kind} at {at:%H:%M:%S} UTC)", (at - self._wall()).total_seconds())

    def _is_mine(self, event: dict[str, Any]) -> bool:
        """Those of the other machines of a set are listed too. A machine that does not know its name believes all."""
        if not self._name:
            try:
                self._name = self._read(NAME).strip()
            except MetadataError:
                return True
        return self._name in event["Resources"]

    def _read(self, path: str) -> str:
        status, _, body = self._endpoint.get(path, _HEADER)
        if status != 200:
            raise MetadataError(f"{path.partition('?')[0]}: the metadata service answered {status}")
        return body

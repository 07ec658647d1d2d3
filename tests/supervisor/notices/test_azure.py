"""Against a server on loopback that answers as Azure's instance metadata service does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes.http import Answer, AnsweringServer, Request
from holdfast.core.machine.events import NoticeStands
from holdfast.supervisor.notices.azure import EVENTS, NAME, AzureMetadata
from holdfast.supervisor.notices.metadata_http import MetadataEndpoint, MetadataError

NOW = datetime(2026, 11, 22, 16, 17, 6, tzinfo=UTC)
MINE = "trainer-1"


class Server(AnsweringServer):
    def __init__(self) -> None:
        self.document: Any = {"DocumentIncarnation": 1, "Events": []}
        self.name: str | None = MINE
        super().__init__(self._answer)

    def event(self, kind: str, seconds: float | None, *machines: str) -> None:
        """Scheduled so many seconds ahead; None has begun."""
        at = "" if seconds is None else f"{NOW + timedelta(seconds=seconds):%a, %d %b %Y %H:%M:%S} GMT"
        self.document["Events"].append(
            {
                "EventId": "602d9444-d2cd-49c7-8624-8643e7171297",
                "EventType": kind,
                "ResourceType": "VirtualMachine",
                "Resources": list(machines or (MINE,)),
                "EventStatus": "Started" if seconds is None else "Scheduled",
                "NotBefore": at,
                "Description": "",
                "EventSource": "Platform",
                "DurationInSeconds": -1,
            }
        )

    def ask(self) -> NoticeStands | None:
        return AzureMetadata(MetadataEndpoint(self.endpoint), 110.0, lambda: NOW).ask()

    def _answer(self, request: Request) -> Answer:
        if request.headers.get("metadata") != "true":
            return Answer(400)
        if request.path == NAME:
            return Answer(404) if self.name is None else Answer(200, self.name.encode())
        return Answer(200, json.dumps(self.document).encode()) if request.path == EVENTS else Answer(404)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def test_a_machine_that_stays_has_no_notice(server: Server) -> None:
    assert server.ask() is None
    server.event("Freeze", 30)
    assert server.ask() is None, "a pause of some seconds interrupts nothing"


def test_an_eviction_is_a_notice_with_its_time(server: Server) -> None:
    server.event("Preempt", 30)
    assert server.ask() == NoticeStands("spot eviction (Preempt at 16:17:36 UTC)", 30.0)


def test_what_has_begun_has_no_time_left(server: Server) -> None:
    server.event("Terminate", None)
    assert server.ask() == NoticeStands("scheduled deletion (Terminate, begun)", 0.0)


def test_maintenance_is_a_notice_when_it_is_time_to_drain(server: Server) -> None:
    server.event("Redeploy", 900)
    assert server.ask() is None
    server.event("Reboot", 100)
    notice = server.ask()
    assert notice is not None
    assert notice.what.startswith("scheduled maintenance (Reboot")


def test_an_event_of_another_machine_in_the_set_is_none_of_this_one(server: Server) -> None:
    server.event("Preempt", 30, "trainer-2", "trainer-3")
    assert server.ask() is None
    server.name = None
    assert server.ask() is not None, "a machine that does not know its name believes all"


_NO_TIME = {"Events": [{"EventType": "Preempt", "NotBefore": "soon"}]}


@pytest.mark.parametrize("document", [[], 7, {}, {"Events": [7]}, _NO_TIME])
def test_what_makes_no_sense_is_an_error_and_no_notice(server: Server, document: Any) -> None:
    server.document = document
    server.name = None
    with pytest.raises(MetadataError, match="not understood"):
        server.ask()

"""Against a server on loopback that answers as Google's metadata server does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.http import Answer, AnsweringServer, Request, unused_endpoint
from holdfast.core.machine.events import NoticeStands
from holdfast.supervisor.notices.google import HOST_VARIABLE, GoogleMetadata, google_endpoint
from holdfast.supervisor.notices.metadata_http import MetadataAbsent, MetadataError

FLAVOR = {"Metadata-Flavor": "Google"}


class Server(AnsweringServer):
    """Refuses who does not send the header, as the real one does."""

    def __init__(self) -> None:
        self.values = {"preempted": "FALSE", "maintenance-event": "NONE"}
        self.flavor = FLAVOR
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Answer:
        if request.headers.get("metadata-flavor") != "Google":
            return Answer(403, headers=FLAVOR)
        value = self.values.get(request.path.removeprefix("/computeMetadata/v1/instance/"))
        return Answer(404) if value is None else Answer(200, value.encode(), self.flavor)

    @property
    def metadata(self) -> GoogleMetadata:
        return GoogleMetadata(google_endpoint({HOST_VARIABLE: self.endpoint.removeprefix("http://")}))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def test_a_machine_that_stays_has_no_notice(server: Server) -> None:
    assert server.metadata.ask() is None
    server.values["maintenance-event"] = "MIGRATE_ON_HOST_MAINTENANCE"
    assert server.metadata.ask() is None, "a live migration interrupts nothing"


def test_a_preemption_leaves_thirty_seconds(server: Server) -> None:
    server.values["preempted"] = "TRUE"
    assert server.metadata.ask() == NoticeStands("spot preemption (Google Compute Engine)", 30.0)


def test_maintenance_that_ends_the_machine_is_a_notice(server: Server) -> None:
    server.values["maintenance-event"] = "TERMINATE_ON_HOST_MAINTENANCE"
    notice = server.metadata.ask()
    assert notice is not None
    assert notice.what.startswith("host maintenance")


def test_what_is_no_metadata_server_of_googles_is_not_believed(server: Server) -> None:
    server.values["preempted"] = "TRUE"
    server.flavor = {}
    with pytest.raises(MetadataError, match="no metadata server of Google's"):
        server.metadata.ask()


def test_a_service_that_is_not_there_is_absent() -> None:
    host = unused_endpoint().removeprefix("http://")
    with pytest.raises(MetadataAbsent):
        GoogleMetadata(google_endpoint({HOST_VARIABLE: host})).ask()

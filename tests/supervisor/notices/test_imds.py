from __future__ import annotations

import threading

import pytest

from fakes.clocks import Clock
from fakes.http import Answer, AnsweringServer, Request, unused_endpoint
from holdfast.core.errors import SettingsError
from holdfast.core.imds_paths import LIFECYCLE, SPOT
from holdfast.drill.fake_imds import MetadataService
from holdfast.supervisor.notices.imds import MetadataClient, client_from_environment
from holdfast.supervisor.notices.metadata_http import MetadataAbsent, MetadataError


def tokens_asked_for(service: MetadataService) -> int:
    return sum(request.startswith("PUT") for request in service.requests)


def test_a_document_is_read_and_a_missing_one_is_none(client: MetadataClient) -> None:
    assert client.read(LIFECYCLE) == "InService"
    assert client.read(SPOT) is None


def test_one_token_serves_many_requests(client: MetadataClient, service: MetadataService) -> None:
    for _ in range(3):
        client.read(LIFECYCLE)
    assert service.requests == ["PUT /latest/api/token"] + ["GET /latest/meta-data/" + LIFECYCLE] * 3


def test_a_token_that_is_no_longer_known_is_renewed_and_the_question_repeated(
    client: MetadataClient, service: MetadataService
) -> None:
    client.read(LIFECYCLE)
    service.forget_tokens()
    assert client.read(LIFECYCLE) == "InService"
    assert tokens_asked_for(service) == 2


def test_a_token_is_renewed_15_seconds_before_its_end(
    client: MetadataClient, service: MetadataService, clock: Clock
) -> None:
    client.read(LIFECYCLE)
    clock.advance(6 * 3600 - 15.5)
    client.read(LIFECYCLE)
    assert tokens_asked_for(service) == 1
    clock.advance(0.5)
    client.read(LIFECYCLE)
    assert tokens_asked_for(service) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 500, 503])
def test_any_other_status_is_an_error_and_not_a_document(
    client: MetadataClient, service: MetadataService, status: int
) -> None:
    service.status = status
    with pytest.raises(MetadataError, match=rf"{SPOT}.*{status}"):
        client.read(SPOT)
    assert len(service.requests) <= 4


@pytest.mark.parametrize(
    "answer",
    [
        Answer(403),
        Answer(200),
        Answer(200, b"two\nlines"),
        Answer(200, b"<p>a b</p>\r\n<p/>"),
        Answer(200, b"\xff\xfe"),
    ],
    ids=["refused", "empty", "two lines", "page", "bytes"],
)
def test_a_service_that_gives_no_usable_token_is_an_error(clock: Clock, answer: Answer) -> None:
    with AnsweringServer(lambda request: answer) as server, pytest.raises(MetadataError, match="no token"):
        MetadataClient(server.endpoint, clock).read(SPOT)


def test_where_nothing_listens_the_service_is_absent(clock: Clock) -> None:
    with pytest.raises(MetadataAbsent, match=r"127\.0\.0\.1"):
        MetadataClient(unused_endpoint(), clock).read(SPOT)


def test_where_nothing_answers_in_time_the_service_is_absent(clock: Clock) -> None:
    release = threading.Event()

    def hang(request: Request) -> None:
        release.wait(timeout=30)

    with AnsweringServer(hang) as server:
        try:
            with pytest.raises(MetadataAbsent, match="timed out"):
                MetadataClient(server.endpoint, clock, timeout=0.05).read(SPOT)
        finally:
            release.set()


@pytest.mark.parametrize(
    "endpoint", ["", "169.254.169.254", "https://127.0.0.1", "http://", "http://127.0.0.1:x", "http://[::1"]
)
def test_an_endpoint_that_is_no_address_is_a_settings_error(clock: Clock, endpoint: str) -> None:
    with pytest.raises(SettingsError, match="AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        MetadataClient(endpoint, clock)


@pytest.mark.parametrize("value", ["true", "True", "TRUE"])
def test_the_sdks_own_variable_switches_the_service_off(clock: Clock, value: str) -> None:
    assert client_from_environment({"AWS_EC2_METADATA_DISABLED": value}, clock) is None


def test_the_sdks_own_variable_tells_where_the_service_is(clock: Clock, service: MetadataService) -> None:
    environment = {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{service.endpoint}/"}
    client = client_from_environment(environment, clock)
    assert client is not None
    assert client.read(LIFECYCLE) == "InService"


def test_a_bad_endpoint_in_the_environment_is_a_settings_error(clock: Clock) -> None:
    with pytest.raises(SettingsError, match=r"ftp://127\.0\.0\.1"):
        client_from_environment({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "ftp://127.0.0.1"}, clock)

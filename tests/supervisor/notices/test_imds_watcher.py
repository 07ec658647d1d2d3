from __future__ import annotations

import json
import socket
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.clocks import Clock
from fakes.http import Answer, AnsweringServer, Request, unused_endpoint
from holdfast.core.imds_paths import LIFECYCLE, MAINTENANCE, REBALANCE, SPOT
from holdfast.core.machine.events import Event, NoNotice, NoticeStands, RebalanceRecommended
from holdfast.drill.fake_imds import MetadataService
from holdfast.supervisor.notices.imds import MetadataClient
from holdfast.supervisor.notices.imds_watcher import PATHS, Reading, Watcher, interpret

NOW = datetime(2026, 11, 22, 16, 17, 6, tzinfo=UTC)
DRAIN_TIME = 110.0


def read(path: str, text: str) -> Reading:
    return interpret({path: text}, NOW, DRAIN_TIME)


# --- what the documents mean ---------------------------------------------------------------------------------------


def test_no_documents_are_no_notice() -> None:
    assert interpret(dict.fromkeys(PATHS), NOW, DRAIN_TIME) == interpret({}, NOW, DRAIN_TIME) == Reading()


@pytest.mark.parametrize("action", ["terminate", "stop"])
def test_a_spot_notice_has_the_deadline_that_it_states(action: str) -> None:
    reading = read(SPOT, json.dumps({"action": action, "time": "2026-11-22T16:19:15Z"}))
    assert reading == Reading(NoticeStands(f"spot notice ({action} at 16:19:15 UTC)", 129.0))


def test_hibernation_begins_at_once_and_has_no_deadline() -> None:
    reading = read(SPOT, '{"action": "hibernate", "time": "2026-11-22T16:19:15Z"}')
    assert reading.stands == NoticeStands("spot notice (hibernate at 16:19:15 UTC)", None)


def test_a_rebalance_recommendation_is_not_a_notice() -> None:
    assert read(REBALANCE, '{"noticeTime": "2026-11-22T16:17:00Z"}') == Reading(rebalance=True)


@pytest.mark.parametrize("state", ["Terminated", "Warmed:Terminated", "Warmed:Stopped", "Warmed:Hibernated"])
def test_a_lifecycle_state_of_leaving_is_a_notice_without_a_deadline(state: str) -> None:
    expected = NoticeStands(f"Auto Scaling is taking this machine away ({state})", None)
    assert read(LIFECYCLE, f"{state}\n") == Reading(expected)


@pytest.mark.parametrize("state", ["InService", "Pending", "Standby", "Warmed:Running", "SomethingNew"])
def test_any_other_lifecycle_state_is_no_notice(state: str) -> None:
    assert read(LIFECYCLE, state) == Reading()


def maintenance(*events: tuple[float, str], code: str = "system-reboot") -> str:
    listed = [
        {"Code": code, "State": state, "NotBefore": f"{NOW + timedelta(seconds=seconds):%d %b %Y %H:%M:%S} GMT"}
        for seconds, state in events
    ]
    return json.dumps(listed)


def test_maintenance_that_is_further_ahead_than_a_drain_takes_is_only_scheduled() -> None:
    reading = read(MAINTENANCE, maintenance((DRAIN_TIME + 1, "active")))
    assert reading == Reading(scheduled="scheduled maintenance (system-reboot at 22 Nov 16:18:57 UTC)")


@pytest.mark.parametrize("seconds", [DRAIN_TIME, 30, 0, -60])
def test_maintenance_becomes_a_notice_when_it_is_time_to_drain(seconds: float) -> None:
    reading = read(MAINTENANCE, maintenance((seconds, "active")))
    assert reading.stands is not None
    assert reading.stands.what.startswith("scheduled maintenance (system-reboot at ")
    assert reading.stands.seconds == seconds
    assert reading.scheduled is None


@pytest.mark.parametrize("state", ["completed", "canceled"])
def test_maintenance_that_is_over_or_called_off_is_ignored(state: str) -> None:
    assert read(MAINTENANCE, maintenance((10, state))) == read(MAINTENANCE, "[]") == Reading()


def test_of_several_maintenance_events_the_soonest_active_one_counts() -> None:
    reading = read(MAINTENANCE, maintenance((5, "completed"), (5000, "active"), (60, "active")))
    assert reading.stands is not None
    assert reading.stands.seconds == 60


def test_of_several_notices_the_soonest_stands() -> None:
    documents: dict[str, str | None] = {
        SPOT: '{"action": "terminate", "time": "2026-11-22T16:19:06Z"}',
        MAINTENANCE: maintenance((20, "active")),
        LIFECYCLE: "Terminated",
    }
    reading = interpret(documents, NOW, DRAIN_TIME)
    assert reading.stands is not None
    assert reading.stands.what.startswith("scheduled maintenance")
    del documents[MAINTENANCE]
    without = interpret(documents, NOW, DRAIN_TIME)
    assert without.stands is not None
    assert without.stands.what.startswith("Auto Scaling")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (SPOT, ""),
        (SPOT, "<html>404 - Not Found</html>"),
        (SPOT, "[]"),
        (SPOT, "null"),
        (SPOT, "{}"),
        (SPOT, '{"action": "terminate"}'),
        (SPOT, '{"action": "terminate", "time": "soon"}'),
        (SPOT, '{"action": "terminate", "time": 1}'),
        (SPOT, '{"action": "dance", "time": "2026-11-22T16:19:15Z"}'),
        (SPOT, '{"action": ["terminate"], "time": "2026-11-22T16:19:15Z"}'),
        (SPOT, "[" * 100_000),
        (REBALANCE, ""),
        (REBALANCE, "{}"),
        (REBALANCE, '"text"'),
        (MAINTENANCE, ""),
        (MAINTENANCE, "5"),
        (MAINTENANCE, '{"State": "active"}'),
        (MAINTENANCE, '[{"State": "active"}]'),
        (MAINTENANCE, '[{"State": "active", "Code": "x", "NotBefore": "2026-11-22"}]'),
        (LIFECYCLE, ""),
        (LIFECYCLE, "<html><body>Terminated</body></html>"),
        (LIFECYCLE, "x" * 41),
    ],
)
def test_a_document_that_makes_no_sense_is_a_warning_and_no_interruption(path: str, text: str) -> None:
    reading = read(path, text)
    assert reading.stands is None
    assert not reading.rebalance
    [warning] = reading.warnings
    assert warning.startswith(path)
    assert len(warning) < 200


_FIELDS = st.sampled_from(["action", "time", "noticeTime", "State", "NotBefore", "Code", "terminate", "active"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _FIELDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_FIELDS, inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(PATHS), st.text() | _JSON.map(json.dumps)))
def test_no_text_whatever_breaks_the_reader(documents: dict[str, str | None]) -> None:
    reading = interpret(documents, NOW, DRAIN_TIME)
    assert len(reading.warnings) <= len(documents)


def test_one_bad_document_does_not_hide_another() -> None:
    reading = interpret({REBALANCE: "?", LIFECYCLE: "Terminated"}, NOW, DRAIN_TIME)
    assert reading.stands is not None
    assert len(reading.warnings) == 1


# --- the watcher ---------------------------------------------------------------------------------------------------


class Watched:
    """A watcher whose reports and words are kept."""

    def __init__(self, client: MetadataClient | None, **settings: Any) -> None:
        self.reports: list[Event] = []
        self.said: list[tuple[str, str]] = []
        self.watcher = Watcher(
            client, self.reports.append, lambda *words: self.said.append(words), DRAIN_TIME, name="", **settings
        )

    def look(self, times: int = 1) -> list[Event]:
        """What was reported by so many looks."""
        before = len(self.reports)
        for _ in range(times):
            self.watcher.look()
        return self.reports[before:]


def test_the_first_look_reports_that_no_notice_stands_and_later_ones_nothing(client: MetadataClient) -> None:
    watched = Watched(client)
    assert watched.look() == [NoNotice()]
    assert watched.look(3) == []


def test_the_first_look_reports_a_notice_that_stands_already(client: MetadataClient, service: MetadataService) -> None:
    service.interrupt(seconds=90)
    [stands] = Watched(client).look(2)
    assert isinstance(stands, NoticeStands)
    assert stands.seconds == pytest.approx(90, abs=5)


def test_a_notice_whose_time_moves_with_every_look_is_reported_once(
    client: MetadataClient, service: MetadataService
) -> None:
    watched = Watched(client)
    watched.look()
    reports = []
    for seconds in (120, 125, 130):
        service.interrupt(seconds=seconds)
        reports += watched.look()
    [stands] = reports
    assert isinstance(stands, NoticeStands)
    assert stands.seconds == pytest.approx(120, abs=5)


def test_a_notice_of_another_kind_is_reported_too(client: MetadataClient, service: MetadataService) -> None:
    service.documents[LIFECYCLE] = "Terminated"
    watched = Watched(client)
    watched.look()
    service.interrupt(seconds=30)
    [stands] = watched.look(2)
    assert isinstance(stands, NoticeStands)
    assert stands.what.startswith("spot notice")


def test_a_notice_that_is_taken_back_is_reported_as_cleared(client: MetadataClient, service: MetadataService) -> None:
    service.interrupt("stop")
    watched = Watched(client)
    watched.look()
    service.clear()
    assert watched.look(2) == [NoNotice()]


def test_a_rebalance_recommendation_is_reported_once(client: MetadataClient, service: MetadataService) -> None:
    service.recommend_rebalance()
    assert Watched(client).look(3) == [NoNotice(), RebalanceRecommended()]


def test_a_rebalance_recommendation_stands_as_a_notice_where_that_is_wished(
    client: MetadataClient, service: MetadataService
) -> None:
    service.recommend_rebalance()
    assert Watched(client, rebalance_stands=True).look(2) == [NoticeStands("rebalance recommendation")]


def test_scheduled_maintenance_is_said_once_and_reported_when_it_is_due(
    client: MetadataClient, service: MetadataService
) -> None:
    wall = Clock(datetime.now(UTC).timestamp())
    service.schedule_maintenance(seconds=3600)
    watched = Watched(client, wall=lambda: datetime.fromtimestamp(wall(), UTC))
    assert watched.look(2) == [NoNotice()]
    [(kind, text)] = watched.said
    assert kind == "maintenance"
    assert "draining 110 s before" in text
    wall.advance(3500)
    [stands] = watched.look(2)
    assert isinstance(stands, NoticeStands)


@pytest.mark.parametrize("state", ["completed", "canceled"])
def test_maintenance_that_is_called_off_is_neither_said_nor_reported(
    client: MetadataClient, service: MetadataService, state: str
) -> None:
    service.schedule_maintenance(seconds=10, state=state)
    watched = Watched(client)
    assert watched.look() == [NoNotice()]
    assert watched.said == []


def test_rubbish_is_warned_of_once_and_is_no_interruption(client: MetadataClient, service: MetadataService) -> None:
    service.documents[SPOT] = "<html>Welcome</html>"
    watched = Watched(client)
    assert watched.look(3) == [NoNotice()]
    [(kind, text)] = watched.said
    assert kind == "metadata-warning"
    assert SPOT in text


@pytest.mark.parametrize("status", [403, 500])
def test_a_service_in_trouble_is_warned_of_and_is_no_interruption(
    client: MetadataClient, service: MetadataService, status: int
) -> None:
    service.status = status
    watched = Watched(client)
    assert watched.look(3) == [NoNotice()]
    assert watched.said
    assert {kind for kind, _ in watched.said} == {"metadata-warning"}
    assert len(watched.said) == len(set(watched.said))


@pytest.mark.parametrize("status", [403, 404])
def test_where_no_service_is_expected_one_that_gives_no_token_is_none_and_said_once(clock: Clock, status: int) -> None:
    """On a laptop, or in another cloud, something else may answer at that address."""
    with AnsweringServer(lambda request: Answer(status)) as server:
        watched = Watched(MetadataClient(server.endpoint, clock), expected=False)
        assert watched.look(3) == [NoNotice()]
        [(kind, text)] = watched.said
        assert kind == "metadata-refused"
        assert str(status) in text
        expected = Watched(MetadataClient(server.endpoint, clock))
        assert expected.look(3) == [NoNotice()]
        assert {kind for kind, _ in expected.said} == {"metadata-warning"}


def test_a_service_that_was_not_expected_and_answered_is_believed(clock: Clock) -> None:
    tokens = 403

    def answer(request: Request) -> Answer:
        if request.method == "PUT":
            return Answer(tokens, b"token")
        return Answer(body=b"Terminated") if request.path.endswith(LIFECYCLE) else Answer(404)

    with AnsweringServer(answer) as server:
        watched = Watched(MetadataClient(server.endpoint, clock), expected=False)
        assert watched.look() == [NoNotice()]
        tokens = 200
        [stands] = watched.look()
        assert isinstance(stands, NoticeStands)
        tokens, clock.now = 403, clock.now + 30_000
        assert watched.look(2) == [], "what stood is not taken back"
        assert [kind for kind, _ in watched.said] == ["metadata-refused", "metadata-warning"]


def test_a_notice_stands_on_while_its_document_makes_no_sense(client: MetadataClient, service: MetadataService) -> None:
    service.interrupt()
    watched = Watched(client)
    watched.look()
    service.documents[SPOT] = "?"
    assert watched.look(2) == []
    service.clear()
    assert watched.look() == [NoNotice()]


@pytest.mark.parametrize("status", [403, 500])
def test_a_notice_stands_on_while_the_service_is_in_trouble(
    client: MetadataClient, service: MetadataService, status: int
) -> None:
    service.interrupt()
    watched = Watched(client)
    watched.look()
    service.status = status
    assert watched.look(2) == []
    service.status = None
    assert watched.look() == []


def test_one_document_that_cannot_be_had_does_not_hide_a_notice(clock: Clock) -> None:
    def answer(request: Request) -> Answer:
        if request.method == "PUT":
            return Answer(body=b"token")
        if request.path.endswith(LIFECYCLE):
            return Answer(body=b"Terminated")
        return Answer(500 if request.path.endswith(REBALANCE) else 404)

    with AnsweringServer(answer) as server:
        watched = Watched(MetadataClient(server.endpoint, clock))
        [stands] = watched.look(2)
    assert isinstance(stands, NoticeStands)
    assert len(watched.said) == 1


@pytest.mark.parametrize("hung_up_on", [LIFECYCLE, REBALANCE])
@pytest.mark.parametrize("looks_before", [0, 1])
def test_a_notice_that_was_read_is_reported_though_no_answer_comes_to_a_later_question(
    clock: Clock, looks_before: int, hung_up_on: str
) -> None:
    notice = json.dumps({"action": "terminate", "time": "2026-11-22T16:19:15Z"}).encode()
    quiet = True

    def answer(request: Request) -> Answer | None:
        if request.method == "PUT":
            return Answer(body=b"token")
        if quiet:
            return Answer(404)
        if request.path.endswith(hung_up_on):
            return None
        return Answer(body=notice) if request.path.endswith(SPOT) else Answer(404)

    with AnsweringServer(answer) as server:
        watched = Watched(MetadataClient(server.endpoint, clock), wall=lambda: NOW)
        watched.look(looks_before)
        quiet = False
        assert watched.look(2) == [NoticeStands("spot notice (terminate at 16:19:15 UTC)", 129.0)]
    [(kind, text)] = watched.said
    assert kind == "metadata-warning"
    assert text.startswith(f"{hung_up_on}: no answer")


def test_where_there_is_no_service_that_is_said_once(clock: Clock) -> None:
    watched = Watched(MetadataClient(unused_endpoint(), clock))
    assert watched.look(3) == [NoNotice()]
    [(kind, text)] = watched.said
    assert kind == "no-metadata"
    assert "only signals" in text


def test_where_the_token_does_not_arrive_the_hop_limit_and_its_remedy_are_named_once(clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel takes the connection; nobody ever answers
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        watched = Watched(MetadataClient(endpoint, clock, timeout=0.05))
        assert watched.look(2) == [NoNotice()]
    [(kind, text)] = watched.said
    assert kind == "metadata-warning"
    assert "hop limit of 1" in text
    assert "--http-put-response-hop-limit 2" in text


def test_where_the_service_is_switched_off_that_is_said_once() -> None:
    watched = Watched(None)
    assert watched.look(2) == [NoNotice()]
    assert watched.said == [("no-metadata", "the metadata service is disabled (AWS_EC2_METADATA_DISABLED)")]


def test_a_notice_stands_on_while_a_service_that_answered_before_does_not(clock: Clock) -> None:
    with MetadataService() as service:
        service.interrupt()
        watched = Watched(MetadataClient(service.endpoint, clock))
        watched.look()
    assert watched.look(2) == []
    assert [kind for kind, _ in watched.said] == ["metadata-warning"]


def test_started_it_looks_again_and_again_until_it_is_stopped(client: MetadataClient, service: MetadataService) -> None:
    events: list[Event] = []
    arrived = threading.Semaphore(0)

    def report(event: Event) -> None:
        events.append(event)
        arrived.release()

    watcher = Watcher(client, report, lambda kind, text: None, DRAIN_TIME, interval=0.001)
    watcher.start()
    try:
        assert arrived.acquire(timeout=30)
        service.interrupt()
        assert arrived.acquire(timeout=30)
    finally:
        watcher.stop()
    assert [type(event) for event in events] == [NoNotice, NoticeStands]

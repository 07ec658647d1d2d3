from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from fakes.http import Answer, AnsweringServer, unused_endpoint
from holdfast.core.errors import SettingsError
from holdfast.supervisor.report.journal import Journal
from holdfast.supervisor.report.ping import Ping, address


class Switch:
    """A dead man's switch, and a training that does batches."""

    def __init__(self) -> None:
        self.paths: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.warnings: list[str] = []
        self.executed = 0
        self.journal = Journal(None)
        self.server = AnsweringServer(self._answer)

    def ping(self, url: str = "", every: float = 60.0) -> Ping:
        given = url or f"{self.server.endpoint}/s3cret?x=1"
        ping = Ping(given, lambda: self.executed, lambda kind, text="", **facts: self.warnings.append(text), every)
        self.journal.listen(ping.heard)
        return ping

    def next(self) -> str:
        return self.paths.get(timeout=30)

    def _answer(self, request: Any) -> Answer:
        self.paths.put(f"{request.method} {request.path}")
        return Answer(200)


@pytest.fixture
def switch() -> Iterator[Switch]:
    switch = Switch()
    with switch.server:
        yield switch


def test_the_start_and_each_time_in_which_a_batch_was_done_are_pinged(switch: Switch) -> None:
    ping = switch.ping(every=0.05)
    switch.journal.event("started", pid=1, command=[], executed=0)
    assert switch.next() == "GET /s3cret/start?x=1"
    with pytest.raises(queue.Empty):
        switch.paths.get(timeout=0.3)
    switch.executed = 7
    assert switch.next() == "GET /s3cret?x=1"
    with pytest.raises(queue.Empty):
        switch.paths.get(timeout=0.3)
    ping.close()


_WELL, _FAIL = "/s3cret?x=1", "/s3cret/fail?x=1"


@pytest.mark.parametrize(("code", "path"), [(0, _WELL), (75, _WELL), (74, _FAIL), (70, _FAIL)])
def test_an_end_that_needs_somebody_is_a_failure(switch: Switch, code: int, path: str) -> None:
    ping = switch.ping()
    switch.journal.event("started", pid=1, command=[], executed=0)
    switch.journal.event("started", pid=2, command=[], executed=9)  # after a crash
    switch.journal.event("exit", code=code)
    ping.close()
    assert [switch.next(), switch.next()] == ["GET /s3cret/start?x=1", f"GET {path}"]
    assert switch.paths.empty()


def test_a_run_that_was_complete_already_pings_nothing(switch: Switch) -> None:
    ping = switch.ping()
    switch.journal.event("exit", code=0)
    ping.close()
    assert switch.paths.empty()


def test_a_switch_that_cannot_be_reached_is_named_once_and_without_its_secret(switch: Switch) -> None:
    ping = switch.ping(f"{unused_endpoint()}/s3cret", every=0.02)
    switch.journal.event("started", pid=1, command=[], executed=0)
    switch.journal.event("exit", code=70)
    ping.close()
    (warning,) = switch.warnings
    assert warning.startswith("--ping-url (http://127.0.0.1:")
    assert "s3cret" not in warning


def test_only_a_web_address_is_one() -> None:
    with pytest.raises(SettingsError, match="--ping-url: give an http:// or https:// URL"):
        Ping("file:///etc/passwd", lambda: 0, lambda *_, **__: None)
    assert address("https://hc-ping.com/uuid/", "start") == "https://hc-ping.com/uuid/start"

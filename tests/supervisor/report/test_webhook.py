from __future__ import annotations

import json
import queue
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fakes.http import Answer, AnsweringServer, unused_endpoint
from fakes.pairs import name_of
from holdfast.core.errors import SettingsError
from holdfast.core.view import Facts
from holdfast.supervisor.report.journal import Journal
from holdfast.supervisor.report.view import Watch
from holdfast.supervisor.report.webhook import Notifier, check_url, happened


class Hook:
    """A journal with a notifier, and the server that is notified."""

    def __init__(self, work_dir: Path) -> None:
        self.answers: list[Answer | None] = []
        self.got: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.warnings: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.server = AnsweringServer(self._answer)
        self.journal = Journal(None)
        self.watch = Watch(self.journal, work_dir)
        self.notifier: Notifier | None = None

    def notify(self, url: str | None = None) -> Notifier:
        self.notifier = Notifier(
            url or f"{self.server.endpoint}/hook/s3cret",
            lambda: self.watch.facts,
            lambda kind, text="", **facts: self.warnings.put(text),
            pause=0.01,
        )
        self.journal.listen(self.notifier.heard)
        return self.notifier

    def begin(self) -> None:
        self.journal.event("lease", run="00001-digits", incarnation=2)
        self.journal.event("started", pid=1, command=[])
        self.journal.event("stored", checkpoint=str(name_of(3)), bytes=1, seconds=0.1)

    def _answer(self, request: Any) -> Answer | None:
        self.got.put({"path": request.path, "method": request.method, **json.loads(request.body)})
        return self.answers.pop(0) if self.answers else Answer(204)


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[Hook]:
    hook = Hook(tmp_path)
    with hook.server:
        yield hook
    if hook.notifier is not None:
        hook.notifier.close()


def test_an_interruption_is_posted_once(hook: Hook) -> None:
    notifier = hook.notify()
    hook.begin()
    hook.journal.event("stopping", "spot notice (terminate): draining, 110 s are left")
    hook.journal.event("stopping", "SIGTERM")
    hook.journal.event("exit", code=75)
    notifier.close()
    message = hook.got.get(timeout=30)
    assert (message["method"], message["path"]) == ("POST", "/hook/s3cret")
    assert message["event"] == "interruption"
    assert message["text"] == "run 00001-digits: spot notice (terminate): draining, 110 s are left"
    assert (message["run"], message["incarnation"], message["stored_step"]) == ("00001-digits", 2, 30)
    assert hook.got.empty()


@pytest.mark.parametrize(
    ("code", "event", "text"),
    [(0, "completion", "run 00001-digits is complete"), (70, "failure", "run 00001-digits: it broke")],
)
def test_the_end_is_posted(hook: Hook, code: int, event: str, text: str) -> None:
    notifier = hook.notify()
    hook.begin()
    hook.journal.event("failed", "it broke", warning=True)
    hook.journal.event("exit", code=code)
    notifier.close()
    message = hook.got.get(timeout=30)
    assert (message["event"], message["text"], message["exit_code"]) == (event, text, code)


def test_every_key_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/watching.md").read_text()
    event = {"at": datetime.now(UTC).isoformat(), "code": 70}
    message = happened("exit", event, Facts())
    assert message is not None
    table = page.partition("| key | |")[2].partition("```")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(message)


def test_a_run_that_was_complete_before_is_no_news(hook: Hook) -> None:
    notifier = hook.notify()
    hook.journal.event("complete", run="00001-digits")
    hook.journal.event("exit", code=0)
    notifier.close()
    assert hook.got.empty()


def test_a_failed_post_is_repeated(hook: Hook) -> None:
    hook.answers = [Answer(500), None]
    hook.notify()
    hook.begin()
    hook.journal.event("exit", code=0)
    assert [hook.got.get(timeout=30)["event"] for _ in range(3)] == ["completion"] * 3
    assert hook.warnings.empty()


def test_what_cannot_be_delivered_becomes_a_warning_without_the_secret(hook: Hook) -> None:
    hook.answers = [Answer(403, b"s3cret")] * 3
    hook.notify()
    hook.begin()
    hook.journal.event("exit", code=0)
    assert hook.warnings.get(timeout=30) == f"--notify-url ({hook.server.endpoint}): HTTP 403"


def test_a_server_that_is_away_becomes_a_warning(hook: Hook) -> None:
    away = unused_endpoint()
    hook.notify(f"{away}/s3cret")
    hook.begin()
    hook.journal.event("exit", code=0)
    assert hook.warnings.get(timeout=30) == f"--notify-url ({away}): Connection refused"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://127.0.0.1:1/elsewhere"])
def test_no_redirection_is_followed(hook: Hook, target: str) -> None:
    hook.answers = [Answer(302, headers={"Location": target})] * 3
    hook.notify()
    hook.begin()
    hook.journal.event("exit", code=0)
    assert hook.warnings.get(timeout=30).endswith("HTTP 302")


def test_a_server_that_never_answers_holds_up_the_exit_for_two_seconds_at_most(hook: Hook) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        notifier = hook.notify(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        hook.begin()
        began = time.monotonic()
        hook.journal.event("exit", code=0)
        assert time.monotonic() - began < 1.0, "an event never waits"
        notifier.close()
        assert time.monotonic() - began < 3.5
        hook.notifier = None
    for thread in threading.enumerate():
        if thread.name == "notify":
            thread.join(timeout=30)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:password@hooks.example.com/T0/s3cret?token=s3cret", "https://hooks.example.com"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080"),
    ],
)
def test_only_the_host_of_a_url_may_be_shown(url: str, shown: str) -> None:
    assert check_url(url) == shown


@pytest.mark.parametrize(
    "url", ["", "hooks.example.com", "file:///etc/passwd", "ftp://x/y", "http://", "http://x:99999/"]
)
def test_anything_but_http_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(SettingsError, match="--notify-url"):
        check_url(url)

from __future__ import annotations

import threading
from collections.abc import Callable

from holdfast.core.machine.events import Event, NoNotice, NoticeStands
from holdfast.supervisor.notices.metadata_http import MetadataAbsent, MetadataError
from holdfast.supervisor.notices.polled import PolledSource

Answer = NoticeStands | Exception | None


class Asked:
    """A source whose answers are given."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.reports: list[Event] = []
        self.said: list[str] = []
        self.source = PolledSource("gcp", self._ask, self.reports.append, lambda kind, text: self.said.append(text))
        for _ in answers:
            self.source.look()

    def _ask(self) -> NoticeStands | None:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_only_what_changes_is_reported_and_the_first_look_always_is() -> None:
    spot = NoticeStands("spot preemption (Google)", 30.0)
    asked = Asked(None, None, spot, NoticeStands("spot preemption (now)", 12.0), None)
    assert asked.reports == [
        NoNotice("gcp"),
        NoticeStands("spot preemption (Google)", 30.0, "gcp"),
        NoNotice("gcp"),
    ]


def test_a_first_look_that_fails_reports_that_no_notice_stands() -> None:
    """Also where the reader of the answer has a defect: the start waits for the first look."""
    for error in (MetadataAbsent("nothing there"), MetadataError("a 500"), OverflowError("too large")):
        asked = Asked(error, error)
        assert asked.reports == [NoNotice("gcp")]
        assert len(asked.said) == 1


def test_trouble_takes_no_notice_back() -> None:
    spot = NoticeStands("spot preemption", 30.0)
    asked = Asked(None, spot, MetadataError("a 500"), OverflowError("too large"), MetadataAbsent("no"), spot)
    assert asked.reports == [NoNotice("gcp"), NoticeStands("spot preemption", 30.0, "gcp")]


def test_a_service_that_did_not_answer_at_first_is_asked_as_often_as_any() -> None:
    """The network may come up later than the daemon, and a notice of Google's leaves 30 s."""
    asked = Asked(MetadataAbsent("nothing there"))
    told = threading.Semaphore(0)
    asked.answers = [MetadataAbsent("nothing there"), *[NoticeStands("spot preemption", 30.0)] * 10_000]
    asked.source.report = lambda event: told.release()
    asked.source.interval = 0.001
    asked.source.start()
    assert told.acquire(timeout=5)
    asked.source.stop()


def test_it_looks_in_a_thread_of_its_own_until_it_is_stopped() -> None:
    looked = threading.Semaphore(0)
    ask: Callable[[], None] = lambda: looked.release()  # noqa: E731
    source = PolledSource("gcp", ask, lambda event: None, lambda kind, text: None, interval=0.001)
    source.start()
    assert all(looked.acquire(timeout=30) for _ in range(3))
    source.stop()

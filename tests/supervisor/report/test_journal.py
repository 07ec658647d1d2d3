from __future__ import annotations

import io
import json
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from holdfast.supervisor.report.journal import Journal

AT = datetime(2026, 11, 22, 16, 17, 6, 123456, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def journal(console: io.StringIO | None = None) -> Journal:
    return Journal(console, wall=lambda: AT)


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_one_line_with_its_time_and_facts(path: Path) -> None:
    kept = journal()
    kept.attach(path)
    kept.event("stored", "two\nlines", size=3, name="model")
    assert events(path) == [
        {"at": "2026-11-22T16:17:06.123+00:00", "event": "stored", "text": "two\nlines", "size": 3, "name": "model"}
    ]


def test_events_from_before_the_run_was_known_are_kept_for_it_in_order(path: Path) -> None:
    kept = journal()
    kept.event("first")
    kept.event("second")
    kept.attach(path)
    kept.event("third")
    assert [event["event"] for event in events(path)] == ["first", "second", "third"]


def test_a_later_start_goes_on_in_the_same_file(path: Path) -> None:
    for kind in ("first", "second"):
        kept = journal()
        kept.event(kind)
        kept.attach(path)
    assert [event["event"] for event in events(path)] == ["first", "second"]


def test_people_see_the_text_and_programs_the_kind(path: Path) -> None:
    console = io.StringIO()
    kept = journal(console)
    kept.attach(path)
    kept.event("phase", phase="running")
    kept.event("restored", "going on from epoch 3")
    kept.event("passed-over", "a damaged pair", warning=True)
    kept.close()
    assert console.getvalue() == "holdfast: going on from epoch 3\nholdfast: warning: a damaged pair\n"
    assert [event.get("warning") for event in events(path)] == [None, None, True]


def test_people_see_at_once_what_the_file_gets_later() -> None:
    console = io.StringIO()
    kept = journal(console)
    kept.event("waiting", "waiting for the lease")
    kept.close()
    assert console.getvalue() == "holdfast: waiting for the lease\n"


def test_what_is_for_debugging_is_shown_where_lines_have_a_level_and_kept_in_any_case(path: Path) -> None:
    shown = []
    for form in ({}, {"levels": True}, {"as_json": True}):
        console = io.StringIO()
        kept = Journal(console, wall=lambda: AT, **form)
        kept.attach(path)
        kept.event("metadata-refused", "no service", debug=True)
        kept.close()
        shown.append(console.getvalue())
    assert shown[:2] == ["", "<7>holdfast: debug: no service\n"]
    assert json.loads(shown[2])["level"] == "debug"
    assert [event["text"] for event in events(path)] == ["no service"] * 3


def test_a_console_that_is_gone_stops_neither_the_events_nor_the_training(path: Path) -> None:
    console = io.StringIO()
    kept = journal(console)
    kept.attach(path)
    console.close()
    kept.event("first", "text")
    kept.event("second", "text")
    assert len(events(path)) == 2


def test_a_file_that_cannot_be_written_does_not_stop_the_training(tmp_path: Path) -> None:
    console = io.StringIO()
    kept = journal(console)
    kept.attach(tmp_path / "missing" / "events.jsonl")
    kept.event("stored", "still told")
    kept.close()
    assert console.getvalue() == "holdfast: still told\n"


def test_events_of_many_threads_do_not_mix(path: Path) -> None:
    kept = journal()
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(kept.event, "kind", "x" * 500, number=number) for number in range(200)]
        kept.attach(path)
    assert all(future.exception() is None for future in futures)
    assert sorted(event["number"] for event in events(path)) == list(range(200))


def test_only_the_owner_may_read_the_events(path: Path) -> None:
    kept = journal()
    kept.event("kind")
    kept.attach(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- listeners, and lines for programs -----------------------------------------------------------------------------


def test_a_listener_hears_the_whole_event_before_and_after_the_run_is_known(path: Path) -> None:
    heard: list[tuple[str, Any]] = []
    kept = journal()
    kept.event("unheard")
    kept.listen(lambda kind, event: heard.append((kind, dict(event))))
    kept.event("first", "text", warning=True, size=3)
    kept.attach(path)
    kept.event("second")
    assert [kind for kind, _ in heard] == ["first", "second"]
    assert [event for _, event in heard] == events(path)[1:]


def test_the_folder_is_known_once_the_file_is(path: Path) -> None:
    kept = journal()
    assert kept.folder is None
    kept.attach(path)
    assert kept.folder == path.parent


def test_the_console_speaks_json_where_it_is_asked_to() -> None:
    console = io.StringIO()
    kept = Journal(console, wall=lambda: AT, as_json=True)
    kept.event("phase", phase="running")
    kept.event("stored", "two\nlines", size=3)
    kept.event("passed-over", "damaged", warning=True)
    kept.event("failed", "broken", warning=True)
    kept.close()
    lines = [json.loads(line) for line in console.getvalue().splitlines()]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert lines[0] == {
        "level": "info", "at": "2026-11-22T16:17:06.123+00:00", "event": "stored", "text": "two\nlines", "size": 3,
    }  # fmt: skip


def test_lines_for_systemds_journal_begin_with_their_level() -> None:
    console = io.StringIO()
    kept = Journal(console, wall=lambda: AT, levels=True)
    kept.event("stored", "a pair")
    kept.event("crashed", "it failed\nat the end", warning=True)
    kept.event("failed", "no more", warning=True)
    kept.close()
    assert console.getvalue().splitlines() == [
        "<6>holdfast: a pair",
        "<4>holdfast: warning: it failed",
        "<4>at the end",
        "<3>holdfast: error: no more",
    ]

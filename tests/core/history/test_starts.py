from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.core.history.spans import spans
from holdfast.core.history.starts import split
from holdfast.core.history.work import lives


def lines(*events: tuple[int, str, dict[str, Any]]) -> bytes:
    return b"".join(
        json.dumps({"at": f"2026-11-22T16:00:{at:02d}+00:00", "event": kind, **facts}).encode() + b"\n"
        for at, kind, facts in events
    )


FIRST = lines((0, "waiting", {}), (1, "lease", {"incarnation": 1}), (2, "started", {}))
SECOND = lines((10, "waiting", {}), (11, "lease", {"incarnation": 2}), (12, "exit", {"code": 75}))


def test_a_file_is_a_start() -> None:
    starts, unread = split([FIRST, SECOND])
    assert [(start.incarnation, len(start.events), start.exit_code) for start in starts] == [(1, 3, None), (2, 3, 75)]
    assert unread == 0


def test_lines_that_a_later_start_on_the_same_machine_stored_again_count_once() -> None:
    tail = lines((3, "stored", {}), (4, "exit", {"code": 75}))
    starts, _ = split([FIRST, FIRST + tail + SECOND])
    assert [len(start.events) for start in starts] == [5, 3]


def test_a_start_that_never_had_the_lease_is_one_too() -> None:
    refused = lines((5, "waiting", {}), (9, "exit", {"code": 69}))
    starts, _ = split([FIRST, refused + SECOND])
    assert [(start.incarnation, start.exit_code) for start in starts] == [(1, None), (None, 69), (2, 75)]


def test_a_start_whose_exit_came_too_late_to_be_stored_ended_as_it_was_about_to() -> None:
    for outcome, code in (("complete", 0), ("stopped", 75), ("failed", 70), ("odd", None)):
        (start,), _ = split([FIRST + lines((3, "closing", {"outcome": outcome}))])
        assert start.exit_code == code


def test_a_start_that_was_killed_ends_where_the_next_one_on_its_machine_takes_the_lease() -> None:
    starts, _ = split([lines((1, "lease", {"incarnation": 1})) + lines((8, "lease", {"incarnation": 2}))])
    assert [start.incarnation for start in starts] == [1, 2]


STOPPED = lines(
    (0, "no-metadata", {}),
    (1, "lease", {"incarnation": 1}),
    (2, "fresh", {}),
    (3, "started", {"executed": 0}),
    (4, "training-began", {}),
    (6, "progress", {"step": 13, "executed": 13}),
    (6, "exited", {"code": 75, "executed": 13}),
    (7, "closing", {"outcome": "stopped"}),
)
KILLED = (lines((10, "no-metadata", {}), (11, "lease", {"incarnation": 2})), lines(
    (12, "restored", {"checkpoint": "model-0000-00000013-3.6694-i1-q2"}),
    (13, "started", {"executed": 13}),
    (15, "training-began", {}),
    (17, "stored", {"checkpoint": "model-0001-00000023-4.4560-i2-q3"}),
    (20, "progress", {"step": 25, "executed": 25}),
))  # fmt: skip
LAST = lines(
    (40, "no-metadata", {}),
    (40, "waiting", {}),
    (41, "lease", {"incarnation": 3}),
    (42, "restored", {"checkpoint": "model-0001-00000023-4.4560-i2-q3"}),
    (43, "started", {"executed": 28}),
    (45, "training-began", {}),
    (50, "progress", {"step": 50, "executed": 55}),
    (51, "exited", {"code": 0, "executed": 55}),
    (52, "closing", {"outcome": "complete"}),
)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param([STOPPED, KILLED[0], KILLED[0] + KILLED[1] + LAST], id="early versions"),
        pytest.param([STOPPED, KILLED[0] + KILLED[1], LAST], id="each in its own"),
        pytest.param([STOPPED, KILLED[0] + KILLED[1] + LAST], id="the killed one stored nothing"),
    ],
)
def test_what_a_killed_start_did_is_its_own_though_the_next_one_stored_it(files: list[bytes]) -> None:
    starts, _ = split(files)
    times = [(start.incarnation, start.began % 60, start.ended % 60, start.exit_code) for start in starts]
    assert times == [(1, 0, 7, 75), (2, 10, 20, None), (3, 40, 52, 0)]
    assert [start.last("stored") is not None for start in starts] == [False, True, False]
    productive = [sum(span.seconds for span in spans(start) if span.kind == "productive") for start in starts]
    assert productive == [2, 5, 6]
    assert [(life.start, life.executed, life.redone) for life in lives(starts)] == [(0, 13, 0), (1, 15, 5), (2, 27, 0)]
    assert [life.at_least for life in lives(starts)] == [False] * 3


def test_what_a_killed_start_did_at_last_is_not_known_where_its_disk_is_lost() -> None:
    starts, _ = split([STOPPED, KILLED[0] + KILLED[1], LAST.replace(b'"executed": 28', b'"executed": 0')])
    assert [(life.start, life.redone, life.at_least) for life in lives(starts)[:2]] == [(0, 0, False), (1, 2, True)]


BEAT = {"incarnation": 2, "seen": 1_795_363_225.0, "step": 33, "executed": 33, "validated": 0.5}


def found(beat: dict[str, Any]) -> tuple[float, int, float]:
    """When the killed start was last at work, how far it came, and its productive seconds."""
    files = [STOPPED, KILLED[0] + KILLED[1] + LAST.replace(b'"executed": 28', b'"executed": 0')]
    files[1] = files[1].replace(b'"incarnation": 3}\n', b'"incarnation": 3}\n' + lines((41, "last-heartbeat", beat)))
    starts, _ = split(files)
    seconds = sum(span.seconds for span in spans(starts[1]) if span.kind in ("productive", "validation"))
    return starts[1].ended % 60, lives(starts)[1].end, seconds


def test_a_killed_start_was_at_work_until_the_last_heartbeat_of_its_lease() -> None:
    assert found(BEAT) == (25.0, 33, 10.0)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"incarnation": 1}, (20.0, 25, 5.0)),  # that start had told all
        ({"incarnation": 7}, (20.0, 25, 5.0)),
        ({"incarnation": "2"}, (20.0, 25, 5.0)),
        ({"seen": None}, (20.0, 25, 5.0)),
        ({"seen": 1e300}, (20.0, 25, 5.0)),
        ({"seen": 5.0}, (20.0, 33, 5.0)),  # its clock was set meanwhile
        ({"step": None, "executed": None}, (25.0, 25, 10.0)),  # no batch was done
        ({"step": "many", "executed": -1, "validated": []}, (25.0, 25, 10.0)),
    ],
)
def test_a_heartbeat_that_makes_no_sense_is_not_there(
    wrong: dict[str, Any], expected: tuple[float, int, float]
) -> None:
    assert found({**BEAT, **wrong}) == expected


def test_a_killed_start_that_stored_no_event_of_its_command_did_what_its_lease_says() -> None:
    last = LAST.replace(b'"incarnation": 3}\n', b'"incarnation": 3}\n' + lines((41, "last-heartbeat", BEAT)))
    starts, _ = split([STOPPED, KILLED[0] + KILLED[1].splitlines(keepends=True)[0], last])
    life = lives(starts)[1]
    assert (life.base, life.end, life.executed, life.redone, life.at_least) == (13, 33, 20, 10, True)


def test_two_killed_starts_of_which_the_store_had_nothing_are_two() -> None:
    again = lines((30, "waiting", {}), (31, "lease", {"incarnation": 3}), (32, "started", {}))
    last = lines((40, "waiting", {}), (41, "lease", {"incarnation": 4}), (42, "exit", {"code": 75}))
    starts, _ = split([STOPPED, KILLED[0] + KILLED[1] + again + last])
    assert [(start.incarnation, start.began % 60, start.ended % 60) for start in starts[1:]] == [
        (2, 10, 20),
        (3, 30, 32),
        (4, 40, 42),
    ]

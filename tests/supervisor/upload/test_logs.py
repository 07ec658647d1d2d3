from __future__ import annotations

import json

import pytest

from holdfast.spool import Spool
from holdfast.supervisor.upload.logs import GrowingLog, growing_logs
from holdfast.supervisor.upload.transfer import GivenUp

RUN = "00001-digits"
EXIT = b'{"at": "2026-11-22T16:00:02+00:00", "event": "exit"}\n'


def grow(spool: Spool, name: str, line: bytes) -> None:
    with spool.file(name).open("ab") as file:
        file.write(line)


def brought(log: GrowingLog) -> bytes:
    contents: list[bytes] = []
    log.bring(lambda copy: contents.append(copy.read_bytes()), lambda sent: None)
    return b"".join(contents)


def test_each_incarnation_has_a_log_of_its_own_that_grows(spool: Spool) -> None:
    grow(spool, "log.txt", b"an earlier incarnation's\n")
    log, _ = growing_logs(spool, 2)
    assert log.key == f"{RUN}/log-i2.txt"
    assert not log.has_grown()
    grow(spool, "log.txt", b"first\n")
    assert log.has_grown()
    assert brought(log) == b"first\n"
    assert not log.has_grown()
    grow(spool, "log.txt", b"second\n")
    assert brought(log) == b"first\nsecond\n"


def test_the_events_of_a_start_are_stored_from_its_beginning(spool: Spool) -> None:
    grow(spool, "events.jsonl", b'{"event": "waiting"}\n')
    _, log = growing_logs(spool, 2)
    assert log.key == f"{RUN}/events-i2.jsonl"
    assert log.has_grown()
    assert brought(log) == b'{"event": "waiting"}\n'


def test_events_that_an_earlier_start_here_stored_are_not_stored_again(spool: Spool) -> None:
    earlier = b'{"event": "waiting"}\n{"event": "lease"}\n{"event": "exit", "text": "\\"event\\": \\"lease\\""}\n'
    unstored = b'{"event": "waiting"}\n{"event": "exit"}\n'  # without the lease nothing is stored
    grow(spool, "events.jsonl", earlier + unstored + b'{"event": "lease"}\n')
    _, log = growing_logs(spool, 2)
    grow(spool, "events.jsonl", b'{"event": "started"}\n')
    assert brought(log) == unstored + b'{"event": "lease"}\n{"event": "started"}\n'


def lease(incarnation: int) -> bytes:
    at = f"2026-11-22T16:00:{incarnation:02d}+00:00"
    events = [{"at": at, "event": "waiting"}, {"at": at, "event": "lease", "incarnation": incarnation}]
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def machine(log: int) -> bytes:
    return json.dumps({"at": "2026-11-22T16:00:00+00:00", "event": "machine", "log": log}).encode() + b"\n"


def test_events_that_killed_starts_here_may_not_have_stored_are_stored_under_their_names(spool: Spool) -> None:
    first = lease(3) + b'{"event": "started"}\n'
    grow(spool, "events.jsonl", lease(1) + EXIT + first + lease(4) + lease(5))
    _, log, *killed = growing_logs(spool, 5)
    grow(spool, "events.jsonl", b'{"event": "started"}\n')
    assert brought(log) == lease(5) + b'{"event": "started"}\n'
    assert [(one.key, one.has_grown(), brought(one), one.has_grown()) for one in killed] == [
        (f"{RUN}/events-i3.jsonl", True, first, False),
        (f"{RUN}/events-i4.jsonl", True, lease(4), False),
    ]


def test_the_output_that_killed_starts_here_may_not_have_stored_is_stored_under_their_names(spool: Spool) -> None:
    """The second one's command printed nothing, and the third was killed before it knew where its output begins."""
    grow(spool, "log.txt", b"storedfirst fourth ")
    grow(spool, "events.jsonl", lease(1) + machine(0) + EXIT + lease(2) + machine(6) + lease(3) + machine(12))
    grow(spool, "events.jsonl", lease(4) + lease(5) + machine(12) + lease(6) + machine(19))
    log, _, *killed = growing_logs(spool, 6)
    assert not log.has_grown()
    killed = [one for one in killed if "/log-" in one.key]
    assert [(one.key, brought(one), one.has_grown()) for one in killed if one.has_grown()] == [
        (f"{RUN}/log-i5.txt", b"fourth ", False),
        (f"{RUN}/log-i2.txt", b"first ", False),
    ]
    grow(spool, "log.txt", b"and now")
    assert (brought(log), any(one.has_grown() for one in killed)) == (b"and now", False)


@pytest.mark.parametrize("ended_by", ["copying", "sending"])
def test_a_log_that_was_not_brought_has_still_grown_and_leaves_no_copy(spool: Spool, ended_by: str) -> None:
    grow(spool, "log.txt", b"before\n")
    log, _ = growing_logs(spool, 2)
    grow(spool, "log.txt", b"first\n")

    def give_up(*of: object) -> None:
        raise GivenUp

    with pytest.raises(GivenUp):
        log.bring(give_up, give_up if ended_by == "copying" else lambda sent: None)
    assert [path.name for path in spool.path.iterdir()] == ["log.txt"]
    assert log.has_grown()


def test_a_log_that_cannot_be_copied_is_not_brought_and_fails_nothing(spool: Spool) -> None:
    _, log = growing_logs(spool, 2)
    grow(spool, "events.jsonl", b"first\n")
    spool.file(".tmp-events-i2.jsonl").mkdir()
    assert brought(log) == b""
    assert log.has_grown()

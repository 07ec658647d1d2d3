from __future__ import annotations

import pytest

from holdfast.spool import Spool
from holdfast.supervisor.upload.logs import GrowingLog, growing_logs
from holdfast.supervisor.upload.transfer import GivenUp

RUN = "00001-digits"


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

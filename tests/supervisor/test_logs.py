from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.spool import Spool
from holdfast.supervisor.logs import GrowingLogs

RUN = "00001-digits"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / RUN)


def test_each_incarnation_has_a_log_of_its_own_that_grows(spool: Spool) -> None:
    spool.file("log.txt").write_bytes(b"an earlier incarnation's\n")
    logs = GrowingLogs(spool, 2)
    assert logs.changed() == []

    with spool.file("log.txt").open("ab") as file:
        file.write(b"first\n")
    [(stored_as, copy)] = logs.changed()
    assert stored_as == f"{RUN}/log-i2.txt"
    assert copy.read_bytes() == b"first\n"
    assert logs.changed() == []

    with spool.file("log.txt").open("ab") as file:
        file.write(b"second\n")
    [(_, copy)] = logs.changed()
    assert copy.read_bytes() == b"first\nsecond\n"


def test_the_events_of_a_start_are_stored_from_its_beginning(spool: Spool) -> None:
    spool.file("events.jsonl").write_bytes(b'{"event": "waiting"}\n')
    [(stored_as, copy)] = GrowingLogs(spool, 2).changed()
    assert stored_as == f"{RUN}/events-i2.jsonl"
    assert copy.read_bytes() == b'{"event": "waiting"}\n'

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.core.errors import SourceError
from holdfast.store.streams import AbandonedError, ChunkedBody, FileBody, Meter

CONTENT = bytes(range(256)) * 4000


@pytest.fixture
def path(scratch: Path) -> Path:
    path = scratch / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize(("first", "size"), [(0, len(CONTENT)), (100_000, 700_001), (5, 0), (len(CONTENT) - 1, 1)])
def test_a_body_is_its_range_of_the_file_however_it_is_read(path: Path, first: int, size: int) -> None:
    expected = CONTENT[first : first + size]
    with path.open("rb") as file:
        body = FileBody(file, first, size, Meter(None))
        assert body.read(3) + body.read() == expected
        assert body.tell() == body.seek(0, 2) == size
        assert body.seek(0) == 0
        assert b"".join(iter(lambda: body.read(1000), b"")) == expected
        assert body.crc32() == zlib.crc32(expected)
        assert b"".join(bytes(chunk) for chunk in ChunkedBody(body)) == expected


def test_each_byte_is_told_before_it_leaves_and_only_once(path: Path) -> None:
    told: list[int] = []
    with path.open("rb") as file:
        body = FileBody(file, 0, len(CONTENT), Meter(told.append))
        body.crc32()
        body.read()
        assert told == []
        left = 0
        for chunk in ChunkedBody(body):
            left += len(chunk)
            assert sum(told) == left
        leaving = ChunkedBody(body)
        leaving.seek(0)
        assert sum(map(len, leaving)) == len(CONTENT)
    assert sum(told) == len(CONTENT)
    assert all(count > 0 for count in told)


@pytest.mark.parametrize(
    "read", [FileBody.read, FileBody.crc32, lambda body: list(ChunkedBody(body))], ids=["read", "sums", "chunks"]
)
def test_a_file_that_cannot_be_read_ends_the_put_by_an_error_of_its_own(read: Callable[[FileBody], object]) -> None:
    """As its disk is broken, say. Nobody can read the first byte of this file, as there is no memory there."""

    def put() -> None:
        meter = Meter(None)
        with meter, open("/proc/self/mem", "rb", buffering=0) as file:
            try:
                read(FileBody(file, 0, 5, meter))
            except AbandonedError as error:
                raise RuntimeError("the SDK wraps what a body raises") from error

    with pytest.raises(SourceError, match="/proc/self/mem cannot be read: Input/output error"):
        put()


def test_a_file_that_becomes_shorter_while_it_is_sent_is_an_error(path: Path) -> None:
    with path.open("r+b") as file:
        leaving = iter(ChunkedBody(FileBody(file, 0, len(CONTENT), Meter(None))))
        next(leaving)
        file.truncate(70_000)
        with pytest.raises(OSError, match="became shorter"):
            list(leaving)


def test_counts_from_many_threads_arrive_one_at_a_time() -> None:
    inside = threading.Lock()

    def progress(count: int) -> None:
        assert inside.acquire(blocking=False)
        inside.release()

    meter = Meter(progress)
    threads = [threading.Thread(target=lambda: [meter(1) for _ in range(2000)]) for _ in range(4)]
    with meter:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_after_one_part_failed_the_others_are_ended_and_nothing_more_is_told() -> None:
    told: list[int] = []
    meter = Meter(told.append)
    meter.end()
    with meter, pytest.raises(AbandonedError):
        meter(1)
    assert told == []

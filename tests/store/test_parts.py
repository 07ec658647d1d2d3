from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from holdfast.store.parts import MOST_PARTS, PART, THREADS, ObjectPart, parts_of, work_on
from holdfast.store.streams import Meter


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 5 * PART + 7, 160 << 30, 5 << 40])
def test_parts_cover_every_byte_once_and_are_never_more_than_s3_takes(size: int) -> None:
    parts = parts_of(size)
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [part.first for part in parts[1:]] == [part.last + 1 for part in parts[:-1]]
    assert (parts[0].first, parts[-1].last) == (0, size - 1)
    assert len(parts) <= MOST_PARTS
    assert parts[0].size <= 5 << 30, "S3 takes no larger part"


def test_every_part_is_worked_on_once_by_several_threads_at_a_time() -> None:
    together = threading.Barrier(THREADS, timeout=30)
    done: list[int] = []

    def work(part: ObjectPart) -> None:
        if part.number <= THREADS:
            together.wait()
        done.append(part.number)

    parts = parts_of(100 * PART)
    work_on(parts, work, Meter(None))
    assert sorted(done) == [part.number for part in parts]


def test_the_first_error_is_raised_and_ends_the_other_parts() -> None:
    begun = threading.Barrier(THREADS, timeout=30)
    meter = Meter(None)
    done: list[int] = []

    def work(part: ObjectPart) -> None:
        done.append(part.number)
        begun.wait()
        if part.number == 3:
            raise KeyError("the third")
        while True:
            meter(1)

    with pytest.raises(KeyError, match="the third"):
        work_on(parts_of(100 * PART), work, meter)
    assert len(done) == THREADS


def test_parts_without_end_are_not_made_in_advance() -> None:
    def endless() -> Iterator[ObjectPart]:
        number = 0
        while True:
            yield ObjectPart(number := number + 1, 0, 1)

    def work(part: ObjectPart) -> None:
        if part.number == 1000:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        work_on(endless(), work, Meter(None))

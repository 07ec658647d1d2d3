from __future__ import annotations

from holdfast.core.wording import bytes_text, count, duration_text


def test_one_thing_is_not_called_several() -> None:
    assert [count(number, "pair") for number in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]
    assert [count(number, "batch", "batches") for number in (1, 2)] == ["1 batch", "2 batches"]


def test_a_size_is_told_in_the_unit_that_shows_something_of_it() -> None:
    sizes = (0, 1, 999, 1000, 1234, 999_949, 999_950, 5_600_000, 1_007_000_000, 2.5e15)
    assert [bytes_text(size) for size in sizes] == [
        "0 bytes", "1 byte", "999 bytes", "1.0 kB", "1.2 kB", "999.9 kB", "1.0 MB", "5.6 MB", "1.0 GB", "2,500.0 TB",
    ]  # fmt: skip


def test_a_duration_is_told_in_two_units_at_most() -> None:
    seconds = (-1, 0, 48.4, 89.9, 90, 720, 5400, 12_000, 7200, 172_800, 360_000)
    assert [duration_text(one) for one in seconds] == [
        "0 s", "0 s", "48 s", "90 s", "2 min", "12 min", "1 h 30 min", "3 h 20 min", "2 h", "2 d", "4 d 4 h",
    ]  # fmt: skip

from __future__ import annotations

from holdfast.core.wording import bytes_text, count


def test_one_thing_is_not_called_several() -> None:
    assert [count(number, "pair") for number in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]
    assert [count(number, "batch", "batches") for number in (1, 2)] == ["1 batch", "2 batches"]


def test_a_size_is_told_in_the_unit_that_shows_something_of_it() -> None:
    sizes = (0, 1, 999, 1000, 1234, 999_949, 999_950, 5_600_000, 1_007_000_000, 2.5e15)
    assert [bytes_text(size) for size in sizes] == [
        "0 bytes", "1 byte", "999 bytes", "1.0 kB", "1.2 kB", "999.9 kB", "1.0 MB", "5.6 MB", "1.0 GB", "2,500.0 TB",
    ]  # fmt: skip

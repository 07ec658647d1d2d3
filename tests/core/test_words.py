from __future__ import annotations

from holdfast.core.words import count


def test_one_thing_is_not_called_several() -> None:
    assert [count(number, "pair") for number in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]
    assert [count(number, "batch", "batches") for number in (1, 2)] == ["1 batch", "2 batches"]

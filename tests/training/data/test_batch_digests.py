"""What the digests of a few batches prove about the order of the data."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast.training.data.batch_digests import UNKNOWN, BatchDigests, digest_of, is_sampled


def batch_of(number: int) -> list[np.ndarray]:
    return [np.full((4, 3), number, "float32"), np.arange(4)]


def seen(*epochs: list[int]) -> BatchDigests:
    """Batches by their content."""
    digests = BatchDigests()
    for epoch, batches in enumerate(epochs):
        for batch, content in enumerate(batches):
            digests.add(epoch, batch, batch_of(content))
    return digests


def resumed(before: BatchDigests, epoch: int, batch: int, drawn: int = 0) -> BatchDigests:
    digests = BatchDigests()
    digests.restore({"digests": before.facts(), "drawn": drawn}, epoch, batch)
    return digests


def test_a_few_batches_of_an_epoch_are_looked_at() -> None:
    assert [n for n in range(200) if is_sampled(n)] == [0, 1, 2, 4, 8, 16, 32, 64, 128, 192]


def test_a_digest_tells_values_types_and_shapes_apart() -> None:
    zeros = np.zeros((4, 6), "float32")
    others = [zeros.reshape(6, 4), zeros.astype("float64"), zeros + 1, np.array([["a"]], object)]
    assert len({digest_of([array]) for array in [zeros, *others]}) == 5
    assert digest_of([zeros]) == digest_of([zeros.copy()])
    assert digest_of([np.asfortranarray(np.arange(6).reshape(2, 3))]) == digest_of([np.arange(6).reshape(2, 3)])


def test_of_a_large_array_few_values_count_and_none_of_its_parts_is_left_out() -> None:
    large = np.zeros(1_000_000)
    for part in range(4):
        other = large.copy()
        other[part * 250_000 : (part + 1) * 250_000] = 1
        assert digest_of([large]) != digest_of([other])


def test_the_same_batches_are_a_proof() -> None:
    digests = resumed(seen([7, 8, 9]), 0, 3)
    for batch, content in enumerate([7, 8, 9]):
        digests.add(0, batch, batch_of(content))
    assert digests.after_replay() is None


def test_another_batch_is_named_by_its_place() -> None:
    digests = resumed(seen([1, 2, 3], [7, 8, 9]), 1, 3)
    for batch, content in enumerate([7, 5, 4]):
        digests.add(1, batch, batch_of(content))
    text = digests.after_replay()
    assert text is not None
    assert "another order than before: batch 2 of epoch 2 is not the one that it was" in text


def test_without_anything_to_compare_it_is_said_that_this_is_not_known() -> None:
    assert resumed(seen(), 0, 3).after_replay() == UNKNOWN
    digests = BatchDigests()
    digests.restore({}, 0, 3)  # an older pair
    digests.add(0, 0, batch_of(1))
    assert digests.after_replay() == UNKNOWN


def test_a_resume_between_epochs_whose_orders_differ_is_named() -> None:
    digests = resumed(seen([1, 2], [2, 1]), 2, 0)
    digests.add(2, 0, batch_of(1))
    assert "another order in each epoch" in str(digests.after_batch())


@pytest.mark.parametrize(
    ("before", "epoch", "batch", "drawn"),
    [
        (seen([1, 2], [1, 2]), 2, 0, 0),  # all epochs have the same order
        (seen([1, 2], [2, 1]), 0, 1, 0),  # the first epoch goes on
        (seen([1, 2], [2, 1]), 2, 0, 4),  # one iterator serves all epochs
    ],
)
def test_a_resume_that_changes_no_order_is_not_named(before: BatchDigests, epoch: int, batch: int, drawn: int) -> None:
    digests = resumed(before, epoch, batch, drawn)
    digests.add(epoch, batch, batch_of(1))
    assert digests.after_batch() is None


def test_a_long_training_keeps_few_digests() -> None:
    digests = BatchDigests()
    for epoch in range(10):
        for batch in filter(is_sampled, range(5000)):
            digests.add(epoch, batch, batch_of(batch))
    kept = digests.facts()
    assert {epoch for epoch, _, _ in kept} == {0, 7, 8, 9}
    assert sorted(batch for epoch, batch, _ in kept if epoch == 9) == [
        *(0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
        *range(4544, 5000, 64),
    ]

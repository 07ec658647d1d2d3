"""When a pair is due, as a function of batches and time."""

from __future__ import annotations

from datetime import timedelta

from holdfast.core.policy import Cadence
from holdfast.training.keras.fit.save_policy import SavePolicy


def test_a_pair_is_due_once_the_interval_is_over_and_stays_due_until_its_snapshot_is_taken() -> None:
    policy = SavePolicy(Cadence.of(10), now=0.0)
    assert policy.at_boundary(9, 1.0, asked=None) is None
    assert policy.at_boundary(10, 2.0, asked=None) == "interval"
    policy.taken(10, 2.0)
    assert policy.at_boundary(19, 3.0, asked=None) is None
    assert policy.at_boundary(20, 4.0, asked=None) == "interval"


def test_an_interval_in_seconds_counts_from_the_last_snapshot() -> None:
    policy = SavePolicy(Cadence.of(timedelta(seconds=5)), now=100.0)
    assert policy.at_boundary(1, 104.9, asked=None) is None
    assert policy.at_boundary(2, 105.0, asked=None) == "interval"
    policy.taken(2, 107.0)
    assert policy.at_boundary(3, 111.0, asked=None) is None


def test_a_pair_that_is_asked_for_is_due_at_once_and_its_reason_is_kept_while_there_is_no_room() -> None:
    policy = SavePolicy(Cadence.of("epoch"), now=0.0)
    assert policy.at_boundary(1, 1.0, asked="a rebalance recommendation") == "a rebalance recommendation"
    assert policy.at_boundary(2, 2.0, asked=None) == "a rebalance recommendation"
    policy.postpone("epoch")
    assert policy.at_boundary(3, 3.0, asked=None) == "epoch"


def test_a_resumed_training_counts_its_interval_from_the_checkpoint() -> None:
    policy = SavePolicy(Cadence.of(10), now=0.0)
    policy.resumed_at(95)
    assert policy.at_boundary(104, 1.0, asked=None) is None
    assert policy.at_boundary(105, 2.0, asked=None) == "interval"

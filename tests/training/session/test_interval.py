"""``every="auto"``: trainings on a clock of their own, whose checkpoints cost what the test says."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from holdfast.core.policy import Cadence
from holdfast.training.session.interval import LEAST_SECONDS, Decision, Interval


@dataclass
class Training:
    """Batches of ``batch`` seconds; ``snapshot`` are the seconds of a wait, ``writing`` those in which batches take
    ``slower`` times as long.
    """

    every: str
    batch: float = 0.5
    snapshot: float = 0.05
    writing: float = 2.0
    slower: float = 1.1
    now: float = 0.0
    step: int = 0
    lost: float = 0.0
    saved_at: list[float] = field(default_factory=list)
    told: list[Decision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.interval = Interval(Cadence.parse(self.every), self.now)
        self.until = 0.0

    def run(self, seconds: float) -> float:
        """Trains so long, and returns the share of that time that checkpoints cost."""
        began, lost = self.now, self.lost
        while self.now < began + seconds:
            writes = self.now < self.until
            took = self.batch * (self.slower if writes else 1.0)
            self.now, self.lost, self.step = self.now + took, self.lost + took - self.batch, self.step + 1
            self.interval.boundary(self.now, writes)
            decision = self.interval.news()
            self.told += [decision] if decision is not None else []
            if self.interval.is_due(self.step, self.now) and self.now >= self.until:
                self.now, self.lost = self.now + self.snapshot, self.lost + self.snapshot
                self.interval.taken(self.step, self.now, self.snapshot)
                self.saved_at.append(self.now)
                self.until = self.now + self.writing
        return (self.lost - lost) / (self.now - began)


@pytest.mark.parametrize("every", ["auto", "auto:0.2%", "auto:5%"])
@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"snapshot": 0.5, "slower": 1.0},
        {"snapshot": 0.0, "slower": 2.0, "writing": 20.0},
        {"batch": 3.0, "snapshot": 2.0, "writing": 60.0, "slower": 1.2},
    ],
    ids=["small", "a long wait", "a slow disk", "large batches"],
)
def test_checkpoints_cost_no_more_than_their_share_and_come_no_more_seldom(every: str, kind: dict[str, float]) -> None:
    training = Training(every, **kind)  # type: ignore[arg-type]
    share = Cadence.parse(every).share
    assert share is not None
    training.run(1000.0)
    spent = training.run(30_000.0)
    assert spent <= share * 1.1
    gap = training.saved_at[-1] - training.saved_at[-2]
    assert spent >= share * 0.7 or gap <= LEAST_SECONDS + training.writing + 2 * training.batch


def test_a_state_that_grows_is_saved_more_seldom_and_that_is_told_once() -> None:
    training = Training("auto", snapshot=0.5)
    training.run(5000.0)
    before = len(training.told)
    training.run(5000.0)
    assert len(training.told) == before, "nothing is new"
    training.snapshot = 5.0
    training.run(20_000.0)
    assert training.run(20_000.0) <= 0.011
    assert training.told[-1].interval > 5 * training.told[before - 1].interval


def test_one_pair_that_a_busy_disk_held_up_does_not_count_for_long() -> None:
    training = Training("auto", snapshot=0.5)
    training.run(5000.0)
    usual = training.told[-1].interval
    training.snapshot = 20.0
    training.run(usual + 5)
    training.snapshot = 0.5
    training.run(30_000.0)
    assert training.told[-1].interval < 1.3 * usual


def test_what_lies_between_two_epochs_is_no_batch_s_time() -> None:
    interval = Interval(Cadence.parse("auto"), 0.0)
    for step in range(1, 200):
        now = step * 11.0  # ten seconds of validation before each batch of a second
        interval.pause(now - 1.0)
        interval.boundary(now, writing=step % 20 in (1, 2))
        if step % 20 == 0:
            interval.taken(step, now, 0.1)
    decision = interval.news()
    assert decision is not None
    assert decision.cost == pytest.approx(0.1)


def test_other_intervals_are_as_they_were_and_tell_nothing() -> None:
    interval = Interval(Cadence.of(3), 0.0)
    interval.resumed_at(10)
    assert [interval.is_due(step, 1e9) for step in (12, 13)] == [False, True]
    interval.taken(13, 5.0, 1.0)
    interval.boundary(6.0, writing=True)
    interval.boundary(7.0, writing=False)
    assert interval.news() is None

from __future__ import annotations

from typing import Any

from holdfast.core.view import Course
from holdfast.spool import Progress
from holdfast.supervisor.report.pace import Pace


class Training:
    """Looked at after each of its batches, which take a second; validation takes ten."""

    def __init__(self, epochs: int | None, batches: int | None, length: int = 20, step: int = 0) -> None:
        self.said: list[dict[str, Any]] = []
        self.pace = Pace(lambda kind, text="", **facts: self.said.append({"kind": kind, "text": text, **facts}))
        self.now = 1000.0
        self.at = Progress(step=step)
        self.length = length
        self.pace.heard("training-began", {"epochs": epochs, "batches": batches})

    def batches(self, number: int) -> None:
        for _ in range(number):
            epoch, batch = self.at.epoch, self.at.batch + 1
            self.now += 1
            if batch == self.length:
                epoch, batch = epoch + 1, 0
            self.at = Progress(self.at.executed + 1, epoch, batch, self.at.step + 1)
            self.pace.look(self.at, self.now)
            if batch == 0:
                self.now += 10


def test_what_a_batch_takes_is_measured_from_the_first_one_on() -> None:
    training = Training(30, 20)
    training.now = 1300.0  # tracing
    training.batches(2)
    assert training.pace.course == Course(30, 20, None), "one interval is no measurement"
    training.batches(3)
    assert training.pace.course == Course(30, 20, 1.0)


def test_validation_is_part_of_what_a_batch_takes_once_it_was_seen() -> None:
    training = Training(30, 20)
    training.batches(60)
    seconds = training.pace.course.batch_seconds
    assert seconds is not None
    assert 1.3 < seconds < 1.6  # 30 s for 20 batches


def test_only_the_last_epochs_are_measured() -> None:
    training = Training(30, 20)
    training.batches(40)
    training.now += 100_000  # suspended
    training.batches(100)
    seconds = training.pace.course.batch_seconds
    assert seconds is not None
    assert 1.3 < seconds < 1.6


def test_the_batches_of_an_epoch_are_learned_where_keras_does_not_know_them() -> None:
    training = Training(3, None, step=700)
    training.batches(20)
    assert training.pace.course.batches is None
    training.batches(5)
    assert training.pace.course.batches == 20
    left = training.pace.course.seconds_left(training.at.epoch, training.at.batch)
    assert left is not None
    assert 35 < left < 60  # 35 batches


def test_of_a_training_that_resumed_in_an_epoch_the_batches_are_learned_from_whole_epochs() -> None:
    """Its steps and batches are those of the whole run, so the epoch's beginning is known all the same."""
    training = Training(3, None)
    training.at = Progress(executed=4, epoch=0, batch=13, step=13)
    training.batches(12)
    assert training.pace.course.batches == 20


def test_progress_is_reported_soon_at_first_and_later_seldom() -> None:
    training = Training(None, None, length=100_000)
    training.batches(100)
    soon = len(training.said)
    assert 15 <= soon <= 20
    training.batches(10_000)
    assert 60 <= len(training.said) - soon <= 110
    seconds = [b["step"] - a["step"] for a, b in zip(training.said, training.said[1:], strict=False)]
    assert seconds == sorted(seconds)


def test_a_report_has_the_place_and_what_is_left() -> None:
    training = Training(2, 20)
    training.batches(10)
    training.pace.say(training.now)
    assert training.said[-1] == {
        "kind": "progress",
        "text": "epoch 1/2, batch 10/20, 25 %, about 30 s left",
        "debug": True,
        "epoch": 0,
        "batch": 10,
        "step": 10,
        "executed": 10,
        "validated": 0.0,
        "epochs": 2,
        "batches": 20,
        "batch_seconds": 1.0,
        "seconds_left": 30.0,
        "fit": 1,
    }


def test_the_same_place_is_reported_once_and_a_process_that_did_nothing_reports_nothing() -> None:
    training = Training(2, 20)
    training.pace.say(training.now)
    assert training.said == []
    training.batches(10)
    training.pace.say(training.now)
    training.pace.say(training.now)
    assert [said["step"] for said in training.said] == [6, 10]

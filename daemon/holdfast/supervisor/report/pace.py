"""How fast a training is, measured at the board, and the event ``progress`` that says so now and then."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...core.event_sink import EventSink
from ...core.view import Course
from ...spool import Progress

_SOONEST, _LATEST, _SHARE = 5.0, 600.0, 0.05
_EPOCHS = 3
_NOWHERE = (-2, 0)
_LEAST_SECONDS, _LEAST_BATCHES = 1.0, 2


class Pace:
    """Call ``look`` and ``say`` from the main loop; ``now`` is monotonic seconds.

    A batch takes what the last epochs took, divided by their batches, so validation and whatever else comes at an
    epoch's end are in it. Before the first end of an epoch it is the time since the first batch that was seen: the one
    before it may have been compiled.
    """

    def __init__(self, say: EventSink) -> None:
        self._say = say
        self._course = Course()
        self._marks: deque[tuple[float, int]] = deque(maxlen=_EPOCHS + 1)
        self._began: Course | None = None
        self._begins = self._begun = _NOWHERE
        self._seen = Progress()
        self._moved_at = self._began_at = self._said_at = 0.0
        self._said = Progress()

    def heard(self, kind: str, event: Mapping[str, Any]) -> None:
        """A listener of the journal's, in any thread."""
        if kind == "training-began":
            self._began = Course.of(event)

    def look(self, progress: Progress, now: float) -> None:
        """``progress`` is what a batch was executed for since the last look."""
        if self._began is not None:
            self._begin(self._began, now)
        self._learn(progress)
        if progress.executed > self._seen.executed:
            if not self._marks or progress.epoch > self._seen.epoch:
                self._marks.append((now, progress.step))
            self._moved_at = now
        self._seen = progress
        since = now - self._said_at
        if progress.executed > self._said.executed and since >= max(_SOONEST, _interval(now - self._began_at)):
            self.say(now)

    def say(self, now: float) -> None:
        """Reports where it stands, unless that is known."""
        if self._seen.executed <= self._said.executed:
            return
        at, course = self._seen, self.course
        left = course.seconds_left(at.epoch, at.batch)
        self._say(
            "progress",
            course.text(at.epoch, at.batch),
            debug=True,
            epoch=at.epoch,
            batch=at.batch,
            step=at.step,
            executed=at.executed,
            validated=round(at.validated, 3),
            epochs=course.epochs,
            batches=course.batches,
            batch_seconds=None if course.batch_seconds is None else round(course.batch_seconds, 6),
            seconds_left=None if left is None else round(left, 1),
            fit=course.fit,
        )
        self._said, self._said_at = at, now

    @property
    def course(self) -> Course:
        if not self._marks:
            return self._course
        began, step = self._marks[0]
        batches, seconds = self._seen.step - step, self._moved_at - began
        known = batches >= _LEAST_BATCHES and seconds >= _LEAST_SECONDS
        return replace(self._course, batch_seconds=seconds / batches if known else None)

    def _begin(self, course: Course, now: float) -> None:
        self._began = None
        self._course = course
        self._marks.clear()
        self._begins = self._begun = _NOWHERE
        self._began_at = self._said_at = now

    def _learn(self, progress: Progress) -> None:
        """How many batches an epoch has, from where two neighbours begin.

        The board may mix two batches' counts, so what counts is what was seen twice.
        """
        begins = (progress.epoch, progress.step - progress.batch)
        if begins == self._begins:
            epoch, step = self._begun
            if not self._course.batches and begins[0] == epoch + 1 and begins[1] > step:
                self._course = replace(self._course, batches=begins[1] - step)
            self._begun = begins
        self._begins = begins


def _interval(seconds: float) -> float:
    """A twentieth of the time that a training has taken, so that there are some hundreds of events in a day."""
    return min(_LATEST, _SHARE * seconds)

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.history.starts import split
from holdfast.core.history.work import Life, lives, totals

BEGAN = datetime(2026, 11, 22, 16, 0, 0, tzinfo=UTC)
Told = tuple[str, dict[str, Any]]


def pair(step: int, incarnation: int) -> str:
    return f"model-0000-{step:08d}-0.5000-i{incarnation}-q{step}"


def begun(incarnation: int, base: int, kind: str = "restored") -> list[Told]:
    found: Told = (kind, {"checkpoint": pair(base, 1)}) if base else ("fresh", {})
    return [("lease", {"incarnation": incarnation}), found, ("started", {"executed": 0}), ("training-began", {})]


def trained(base: int, end: int, incarnation: int) -> list[Told]:
    """A report each 10 batches, a pair each 20."""
    found: list[Told] = []
    for step in range(base + 10, end + 1, 10):
        found.append(("progress", {"step": step, "executed": step - base}))
        if step % 20 == 0:
            found += [
                ("saved", {"checkpoint": pair(step, incarnation)}),
                ("stored", {"checkpoint": pair(step, incarnation)}),
            ]
    return found


def read(*stories: list[Told]) -> list[Life]:
    """Each is a start's, on a disk of its own, and follows the one before it."""
    seconds = itertools.count()
    return lives(split([as_lines(story, seconds) for story in stories])[0])


def as_lines(story: list[Told], seconds: Iterable[int] = range(1000)) -> bytes:
    events = [
        {"at": (BEGAN + timedelta(seconds=at)).isoformat(), "event": kind, **facts}
        for (kind, facts), at in zip(story, seconds, strict=False)
    ]
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


COMPLETE = [*begun(3, 180), *trained(180, 300, 3), ("exited", {"code": 0, "executed": 120})]
KILLED = [*begun(1, 0), *trained(0, 120, 1)], [*begun(2, 120), *trained(120, 200, 2)]


@pytest.mark.parametrize("missing", range(len(KILLED[0]) - 2))  # its command was begun
@pytest.mark.parametrize("missing_too", [0, 3, 12])
def test_the_counts_agree_whatever_a_killed_machine_did_not_tell_at_last(missing: int, missing_too: int) -> None:
    first, second = KILLED
    found = read(first[: len(first) - missing], second[: len(second) - missing_too], COMPLETE)
    executed, again = totals(found)
    assert again == sum(life.redone for life in found) == executed - 300
    assert all(life.end >= following.base for life, following in itertools.pairwise(found))
    if not missing_too:
        assert (executed, again) == (320, 20)


def test_the_last_start_came_at_least_to_its_last_checkpoint_in_the_store() -> None:
    starts = split([as_lines(begun(7, 0))])[0]
    names = [CheckpointName.parse(pair(step, incarnation)) for step, incarnation in ((40, 7), (60, 7), (90, 6))]
    (life,) = lives(starts, stored=[name for name in names if name])
    assert (life.end, life.executed, life.at_least) == (60, 60, True)


def test_a_checkpoint_of_another_branch_was_not_made_by_the_start_before() -> None:
    """A rollback may itself be taken back: what lies between was executed before both."""
    first = [*begun(1, 0), *trained(0, 100, 1), ("exited", {"code": 75, "executed": 100})]
    back = [*begun(2, 40, "forked"), *trained(40, 60, 2), ("exited", {"code": 75, "executed": 20})]
    forth = [*begun(3, 100, "forked"), *trained(100, 120, 3), ("exited", {"code": 0, "executed": 20})]
    assert [(life.base, life.end, life.executed) for life in read(first, back, forth)] == [
        (0, 100, 100),
        (40, 60, 20),
        (100, 120, 20),
    ]

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.core.history.spans import spans
from holdfast.core.history.starts import split


def drawn(*events: tuple[int, str, dict[str, Any]]) -> list[tuple[str, float]]:
    """Kinds and seconds of a start's spans."""
    data = b"".join(
        json.dumps({"at": f"2026-11-22T16:{at // 60:02d}:{at % 60:02d}+00:00", "event": kind, **facts}).encode() + b"\n"
        for at, kind, facts in events
    )
    (start,), _ = split([data])
    return [(span.kind, span.seconds) for span in spans(start)]


BEGIN: list[tuple[int, str, dict[str, Any]]] = [
    (0, "waiting", {}),
    (10, "lease", {}),
    (12, "phase", {"phase": "starting"}),
    (12, "started", {}),
]


def test_the_command_may_be_started_before_its_checkpoint_is_here_or_after() -> None:
    trains = [(30, "training-began", {}), (90, "exit", {"code": 75})]
    before = drawn(*BEGIN, (20, "restored", {}), *trains)
    assert before == [("waiting", 10), ("restore", 10), ("startup", 10), ("productive", 60)]
    after = drawn((0, "lease", {}), (20, "restored", {}), (22, "started", {}), *trains)
    assert after == [("restore", 20), ("startup", 10), ("productive", 60)]


def test_a_drain_ends_with_the_command() -> None:
    found = drawn(
        *BEGIN,
        (20, "fresh", {}),
        (30, "training-began", {}),
        (60, "phase", {"phase": "draining"}),
        (65, "exited", {"code": 75}),
        (65, "phase", {"phase": "flushing"}),
        (70, "exit", {"code": 75}),
    )
    assert found[-3:] == [("productive", 30), ("drain", 5), ("saving", 5)]


def test_a_crash_is_followed_by_a_wait_and_another_beginning() -> None:
    found = drawn(
        *BEGIN,
        (20, "fresh", {}),
        (30, "training-began", {}),
        (60, "exited", {"code": 1}),
        (60, "crashed", {}),
        (60, "phase", {"phase": "backoff"}),
        (70, "phase", {"phase": "restoring"}),
        (72, "restored", {}),
        (72, "started", {}),
        (80, "training-began", {}),
        (90, "exit", {}),
    )
    assert found[-4:] == [("productive", 30), ("backoff", 12), ("startup", 8), ("productive", 10)]


def test_a_gang_whose_rank_is_lost_waits_until_all_are_there_again() -> None:
    found = drawn(
        (0, "lease", {}),
        (5, "fresh", {}),
        (8, "gang-waits", {}),
        (20, "phase", {"phase": "starting"}),
        (20, "started", {}),
        (25, "training-began", {}),
        (40, "gang-lost", {"rank": 1}),
        (40, "gang-broken", {}),
        (41, "exited", {"code": 137}),
        (41, "phase", {"phase": "restoring"}),
        (42, "restored", {}),
        (43, "gang-waits", {}),
        (60, "gang-joined", {"rank": 1}),
        (61, "started", {}),
        (65, "training-began", {}),
        (70, "exit", {"code": 75}),
    )
    assert found == [
        ("restore", 5),
        ("startup", 3),
        ("waiting", 12),
        ("startup", 5),
        ("productive", 16),
        ("waiting", 20),
        ("startup", 4),
        ("productive", 5),
    ]


BEGAN: list[tuple[int, str, dict[str, Any]]] = [
    *BEGIN[:-1],
    (12, "started", {"validated": 7.0}),
    (20, "fresh", {}),
    (30, "training-began", {}),
]


def test_validation_is_as_long_as_was_reported_and_stands_before_the_report() -> None:
    found = drawn(
        *BEGAN,
        (60, "progress", {"validated": 11.0}),
        (80, "progress", {"validated": 11.0}),
        (90, "progress", {"validated": 14.0}),
        (99, "exited", {"code": 75, "validated": 14.0}),
    )
    trains = [("productive", 26), ("validation", 4), ("productive", 27), ("validation", 3), ("productive", 9)]
    assert found[-5:] == trains


def test_validation_stands_before_the_snapshot_of_the_checkpoint_that_followed_it() -> None:
    saved = (64, "saved", {"seconds": 4, "validated": 12.0})
    found = drawn(*BEGAN, saved, (90, "progress", {"validated": 12.0}), (99, "exited", {}))
    assert found[-3:] == [("productive", 25), ("validation", 5), ("productive", 39)]


def test_the_last_validation_is_reported_when_the_training_is_over() -> None:
    over = (70, "training-finished", {}), (75, "exited", {"code": 0, "validated": 12.0})
    found = drawn(*BEGAN, (60, "progress", {"validated": 7.0}), *over)
    assert found[-3:] == [("productive", 35), ("validation", 5), ("after", 5)]


def test_validation_takes_no_more_than_the_training_and_is_unknown_to_early_versions() -> None:
    found = drawn(*BEGAN, (60, "progress", {"validated": 1e9}), (90, "exited", {}))
    assert found[-2:] == [("validation", 30), ("productive", 30)]
    assert drawn(*BEGIN, (20, "fresh", {}), (30, "training-began", {}), (60, "exited", {}))[-1] == ("productive", 30)


@pytest.mark.parametrize(("silent", "trained"), [(40, 50), (500, 0)])
def test_a_hang_began_when_the_last_sign_of_life_was_seen(silent: int, trained: int) -> None:
    found = drawn(
        *BEGIN,
        (20, "fresh", {}),
        (30, "training-began", {}),
        (120, "stalled", {"seconds": silent}),
        (125, "exited", {"code": 137}),
        (130, "exit", {}),
    )
    assert dict(found).get("productive", 0) == trained
    assert dict(found)["hung"] == 95 - trained


def test_a_command_that_was_thought_to_hang_and_does_a_batch_trains() -> None:
    found = drawn(
        *BEGIN,
        (20, "fresh", {}),
        (30, "training-began", {}),
        (90, "stalled", {"seconds": 30}),
        (95, "progress", {}),
        (120, "exit", {}),
    )
    assert found[-3:] == [("productive", 30), ("hung", 35), ("productive", 25)]

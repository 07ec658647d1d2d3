from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.history.starts import Start, split
from holdfast.core.history.times import overall_goodput, run_seconds, runtime_goodput
from holdfast.core.history.work import lives

BEGAN = datetime(2026, 11, 22, 16, 0, 0, tzinfo=UTC)


def start(incarnation: int, began: float, waits: float, trains: float, drains: float) -> bytes:
    """Its lines; times are seconds, ``began`` is counted from BEGAN."""
    at, lines = began, []
    for seconds, kind, facts in (
        (0.0, "waiting", {}),
        (waits, "lease", {"incarnation": incarnation}),
        (0.0, "started", {"executed": 0}),
        (0.0, "fresh", {}),
        (0.0, "training-began", {}),
        (trains, "phase", {"phase": "draining"}),
        (drains, "exited", {"code": 75, "executed": 0}),
        (0.0, "exit", {"code": 75}),
    ):
        at += seconds
        event: dict[str, Any] = {"at": (BEGAN + timedelta(seconds=at)).isoformat(), "event": kind, **facts}
        lines.append(json.dumps(event).encode() + b"\n")
    return b"".join(lines)


def goodputs(files: list[bytes]) -> tuple[float | None, float | None]:
    starts: list[Start] = split(files)[0]
    seconds = run_seconds(starts, lives(starts))
    wall = max(one.ended for one in starts) - min(one.began for one in starts)
    return runtime_goodput(seconds, wall), overall_goodput(seconds, wall)


def test_a_replacement_that_waits_while_the_old_machine_trains_makes_no_goodput_worse() -> None:
    runtime, overall = goodputs([start(1, 0, 0, 600, 0), start(2, 0, 600, 600, 0)])
    assert runtime == pytest.approx(1.0)
    assert overall == pytest.approx(1.0)


SECONDS = st.floats(0, 1000, allow_nan=False)


@given(st.lists(st.tuples(SECONDS, SECONDS, SECONDS, SECONDS), min_size=1, max_size=6))
def test_the_goodput_of_the_time_with_a_machine_is_never_below_that_of_all_time(
    found: list[tuple[float, float, float, float]],
) -> None:
    """However the starts overlap."""
    runtime, overall = goodputs([start(number, *one) for number, one in enumerate(found, 1)])
    if runtime is not None and overall is not None:
        assert runtime >= overall - 1e-6
    assert (runtime is None) == (overall is None)


def test_clocks_that_disagree_make_no_goodput_of_more_than_the_whole_time() -> None:
    assert runtime_goodput({"productive": 11.0, "gap": 1.0}, 11.0) == 1.0

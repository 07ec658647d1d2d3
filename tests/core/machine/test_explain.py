"""What is told about the machine is the machine's own doing, and the page that tells it is not older than the code."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.machine.steps import EVENTS, VARIANTS
from holdfast.core.imds_paths import SPOT
from holdfast.core.machine import explain, scenarios
from holdfast.core.machine.diagram import edges
from holdfast.core.machine.effects import Terminate
from holdfast.core.machine.events import Event, StopRequested
from holdfast.core.machine.table import TABLE, Phase, Rules, State, step
from holdfast.supervisor.notices.imds_watcher import interpret

ROOT = Path(__file__).parents[3]
LATE = 1e6
EDGES = edges()


def rows(table: str) -> list[list[str]]:
    """The cells below the head."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def row(table: str, words: str) -> list[str]:
    (found,) = (cells for cells in rows(table) if words in cells[0])
    return found


def test_the_notices_of_the_table_have_the_time_that_their_reader_gives_them() -> None:
    now = datetime(2026, 11, 22, 16, 17, 15, tzinfo=UTC)
    for action, seconds in (("terminate", 120.0), ("stop", 120.0), ("hibernate", None)):
        document = f'{{"action": "{action}", "time": "2026-11-22T16:19:15Z"}}'
        stands = interpret({SPOT: document}, now, 110.0).stands
        assert stands is not None
        (told,) = (event for words, event in explain.NOTICES if action in words)
        assert told.seconds == stands.seconds == seconds, action


def test_the_documents_hold_what_the_code_says_today() -> None:
    """If not: `make docs`."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs/fill-tables"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_part_has_its_place_in_the_page() -> None:
    page = (ROOT / "docs/supervision.md").read_text()
    assert [name for name in explain.PARTS if f"<!-- table: {name} -->" not in page] == []


@pytest.mark.parametrize("situation", scenarios.SITUATIONS, ids=lambda one: one.words)
def test_every_situation_is_in_the_phase_that_is_named(situation: scenarios.Situation) -> None:
    assert situation.state().phase is situation.phase


def test_every_living_phase_has_a_situation() -> None:
    assert {one.phase for one in scenarios.SITUATIONS} == set(Phase) - {Phase.DONE, Phase.FAILED}


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.sampled_from((*EVENTS, *VARIANTS, *scenarios.TRIED)), max_size=25), st.booleans(), st.booleans())
def test_no_walk_through_the_machine_leaves_the_diagram(walk: list[Event], late: bool, drain: bool) -> None:
    state = State(rules=Rules(max_restarts=1, rebalance="drain" if drain else "save"))
    for event in walk:
        if (state.phase, type(event)) in TABLE:
            before, (state, _) = state.phase, step(state, event, LATE if late else 0.0)
            assert state.phase is before or (before, state.phase) in EDGES, f"{type(event).__name__} in {before}"


def test_a_second_signal_kills_and_a_third_leaves_at_once() -> None:
    first, second, third = row(explain.signals(), "it trains")[1:]
    assert first == "asks the script to save and to stop; SIGTERM after 66 s; gives up after 110 s; → *draining*"
    assert second == "SIGKILL to the command and all below it"
    assert third.endswith("**exit 74**")


def test_ends_that_are_treated_alike_share_a_column() -> None:
    assert "| another exit code, a signal (128 + n), SIGKILL, out of memory |" in explain.ends()


def test_an_end_tells_the_exit_code_for_both_things_that_may_come_of_the_last_pair() -> None:
    cells = row(explain.ends(), "asked to stop, and saved its last batch")
    assert "**exit 75**, or **74** if its last pair cannot be stored" in cells


def test_a_step_without_effects_or_times_is_told_as_no_change() -> None:
    state = State()
    assert explain.told(state, (state, ())) == "no change"
    assert explain.told(state, (state, (Terminate(),))) == "SIGTERM to the command and all below it"


def test_what_cannot_happen_is_not_told_as_if_it_did() -> None:
    assert (Phase.BACKOFF, StopRequested) in TABLE
    assert "cannot happen" not in explain.signals()

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.machine.steps import EVENTS, RULES, SITUATIONS, allowed, name_of, way
from holdfast.core.errors import Exit, IllegalTransition
from holdfast.core.machine.events import ChildExited, Event, LeaseLost, NoNotice, Progressed, Restored
from holdfast.core.machine.flight_recorder import Record, Recorder
from holdfast.core.machine.table import State, step

RECORDS = Path(__file__).parents[2] / "data" / "records"
FILES = sorted(RECORDS.glob("*.json"))


def back(record: Record) -> Record:
    """As another process reads it."""
    return Record.from_plain(json.loads(json.dumps(record.to_plain())))


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_record_comes_back_as_it_was_from_wherever_the_machine_may_be(name: str) -> None:
    state = way(name)
    events = tuple((number / 7, event) for number, event in enumerate(EVENTS) if allowed(state, event))
    record = Record(state, events, Exit.FAILED, "a defect")
    assert back(record) == record


@pytest.mark.parametrize("event", EVENTS, ids=name_of)
def test_what_is_recorded_can_be_stepped_again(event: Event) -> None:
    state = way("owing a pair")
    if allowed(state, event):
        record = Record(state, ((3.0, event),), Exit.FAILED)
        assert back(record).replay() == step(state, event, 3.0)[0]


def test_a_recorder_keeps_the_last_events_and_the_state_before_them() -> None:
    recorder, state = Recorder(most=3), State(rules=RULES)
    for number, event in enumerate(
        (NoNotice(), Restored(), *map(Progressed, range(1, 9)), LeaseLost("x"), ChildExited(1))
    ):
        recorder.note(state, event, float(number))
        state, _ = step(state, event, float(number))
    record = recorder.record(Exit.FENCED)
    assert record is not None
    assert [event for _, event in record.events] == [Progressed(8), LeaseLost("x"), ChildExited(1)]
    assert record.replay() == state
    assert state.exit_code is Exit.FENCED


def test_without_an_event_there_is_no_record() -> None:
    assert Recorder().record(Exit.FAILED) is None


def test_a_field_of_another_version_is_left_out_and_a_missing_one_has_its_default() -> None:
    plain = Record(State(rules=RULES, step=7), ((1.0, NoNotice()),), Exit.FAILED).to_plain()
    plain["begin"]["a_field_of_tomorrow"] = 1
    del plain["begin"]["at"]
    assert Record.from_plain(plain).begin == State(rules=RULES, step=7)


@pytest.mark.parametrize("document", [{}, {"format": 2}, {"format": 1, "events": [], "begin": {"is": "Path"}}], ids=str)
def test_what_is_no_record_is_refused(document: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        Record.from_plain(document)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_records_of_real_ends_lead_to_the_same_end(path: Path) -> None:
    """A record of an end that should not have come is put there, with its fix."""
    record = Record.from_plain(json.loads(path.read_text()))
    if record.defect:
        with pytest.raises(IllegalTransition):
            record.replay()
    else:
        assert record.replay().exit_code is record.code


def test_there_are_records_of_each_end_that_is_recorded() -> None:
    codes = {json.loads(path.read_text())["code"] for path in FILES}
    assert codes >= {Exit.FENCED, Exit.FAILED, Exit.UNSTORED}

from __future__ import annotations

from fakes.events import RecordedEvents
from holdfast.core import wire
from holdfast.supervisor.messages_to_events import Reports

TOLD = "not as it was when the checkpoint was made: the script is another. The result may differ"


def test_that_the_script_is_another_is_told_only_where_something_is_left_to_train() -> None:
    said = RecordedEvents()
    reports = Reports(said, lambda event: None)

    def told() -> list[str]:
        return [text for kind, text, _ in said.events if kind == "origin-changed"]

    reports.changed(["the script is another"], midway=False)
    reports.heard(wire.TrainingBegan(3, 0, left=False))
    assert told() == [], "its training was over, and the script's tail was edited"
    reports.heard(wire.TrainingBegan(3, 1))
    reports.heard(wire.TrainingBegan(3, 2))
    assert told() == [TOLD]
    reports.changed(["the script is another"], midway=True)
    assert told() == [TOLD, TOLD]
    reports.changed([], midway=True)
    assert told() == [TOLD, TOLD]

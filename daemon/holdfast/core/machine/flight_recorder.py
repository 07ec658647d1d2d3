"""The last events of a supervisor with their times, as plain values: what the machine decided can be stepped again.

A record begins with the state before its first event, so that it needs none of the events before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

from ..errors import Exit
from ..policy import Backoff
from .crash_signature import Failure
from .events import Event
from .state import Outcome, Phase, Rules, State
from .table import step

FORMAT = 1
MOST_EVENTS = 1000
_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (*Event.__args__, State, Rules, Backoff, Failure, Phase, Outcome, Exit)
}


@dataclass(frozen=True)
class Record:
    """``events`` come after the state ``begin``, each with its time in monotonic seconds.

    ``code`` is what the supervisor exited with; ``defect`` the error that ended it, if it was holdfast's own.
    """

    begin: State
    events: tuple[tuple[float, Event], ...]
    code: Exit
    defect: str = ""

    def replay(self) -> State:
        """The state after the last event. Raises what ``step`` raises."""
        state = self.begin
        for at, event in self.events:
            state, _ = step(state, event, at)
        return state

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        events = [{"at": at, "event": _plain(event)} for at, event in self.events]
        code = int(self.code)
        return {"format": FORMAT, "code": code, "defect": self.defect, "begin": _plain(self.begin), "events": events}

    @classmethod
    def from_plain(cls, document: Mapping[str, Any]) -> Record:
        """Fields that this version does not know are left out, and those that are missing have their defaults.

        Raises ValueError, TypeError or KeyError for what is no record.
        """
        if document["format"] != FORMAT:
            raise ValueError(f"a record of format {document['format']}")
        events = tuple((float(one["at"]), _value(one["event"])) for one in document["events"])
        return cls(_value(document["begin"]), events, Exit(document["code"]), str(document["defect"]))


class Recorder:
    """Keeps the last events, and the state before them."""

    def __init__(self, most: int = MOST_EVENTS) -> None:
        self._kept: deque[tuple[State, float, Event]] = deque(maxlen=most)

    def note(self, state: State, event: Event, at: float) -> None:
        """``state`` is the one before the event."""
        self._kept.append((state, at, event))

    def record(self, code: Exit, defect: str = "") -> Record | None:
        """None if nothing has happened yet."""
        if not self._kept:
            return None
        return Record(self._kept[0][0], tuple((at, event) for _, at, event in self._kept), code, defect)


def _plain(value: Any) -> Any:
    """Each value that JSON does not have names its kind."""
    if isinstance(value, Enum):
        return {"is": type(value).__name__, "value": value.value}
    if is_dataclass(value):
        named = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {"is": type(value).__name__, **named}
    if isinstance(value, frozenset):
        return {"is": "set", "items": [_plain(item) for item in sorted(value)]}
    if isinstance(value, tuple):
        return {"is": "tuple", "items": [_plain(item) for item in value]}
    return value


def _value(plain: Any) -> Any:
    if not isinstance(plain, Mapping):
        return plain
    name = plain["is"]
    if name == "set":
        return frozenset(map(_value, plain["items"]))
    if name == "tuple":
        return tuple(map(_value, plain["items"]))
    kind = _KINDS[name]
    if issubclass(kind, Enum):
        return kind(plain["value"])
    known = {field.name for field in fields(kind)}
    return kind(**{key: _value(item) for key, item in plain.items() if key in known})

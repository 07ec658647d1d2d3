"""What the lease of a start that ended without a word said at its last heartbeat: till then it was at work.

Its last events may be on its disk alone. Who takes the lease over writes it down (``last-heartbeat``); until then it
stands in the lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .event import LATEST, Event, finite

KIND = "heartbeat"
"""Of an event that stands in no file."""
FACTS = ("step", "executed", "validated")
_MOST_INCARNATION = 10**9

Heartbeats = Mapping[int, Event]
"""By incarnation."""


def heartbeat(incarnation: Any, seen: Any, facts: Mapping[str, Any]) -> dict[int, Event]:
    """Empty for what is none: nothing that others wrote is believed."""
    number, at = finite(incarnation, least=1), finite(seen, least=0)
    if number is None or number >= _MOST_INCARNATION or at is None or at >= LATEST:
        return {}
    return {int(number): Event(at, KIND, {name: facts.get(name) for name in FACTS})}


def of_lease(document: Any) -> dict[int, Event]:
    """Of the lease object's JSON, where it was not given back."""
    if not isinstance(document, dict) or document.get("state") != "held":
        return {}
    sign = document.get("sign")
    sign = sign if isinstance(sign, dict) else {}
    return heartbeat(document.get("incarnation"), sign.get("seen"), sign)


def of_events(events: Iterable[Event]) -> dict[int, Event]:
    """Those that the starts found when they took the lease over."""
    found: dict[int, Event] = {}
    for event in events:
        if event.kind == "last-heartbeat":
            found.update(heartbeat(event.facts.get("incarnation"), event.facts.get("seen"), event.facts))
    return found

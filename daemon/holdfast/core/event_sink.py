"""How any part of the supervisor reports an event, without knowing who records it."""

from __future__ import annotations

from typing import Any, Protocol


class EventSink(Protocol):
    """Takes an event, as Journal.event does: ``kind`` and ``facts`` are for programs, ``text`` is shown to people."""

    def __call__(self, kind: str, text: str = "", *, warning: bool = False, **facts: Any) -> None: ...

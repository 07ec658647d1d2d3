"""How parts of the supervisor report an event or show something, without knowing who records or shows it."""

from __future__ import annotations

from typing import Any, Protocol


class ByteSink(Protocol):
    """Where the command's output is shown."""

    def write(self, data: bytes, /) -> object: ...
    def flush(self) -> None: ...


class TextSink(Protocol):
    """Where lines for people are shown."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> None: ...


class EventSink(Protocol):
    """Takes an event, as Journal.event does: ``kind`` and ``facts`` are for programs, ``text`` is shown to people."""

    def __call__(self, kind: str, text: str = "", *, warning: bool = False, **facts: Any) -> None: ...

"""A line of events.jsonl, of which nothing is believed: what is not of its type is not there."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

LATEST = float(1 << 33)  # seconds since 1970
_MOST_TEXT = 4000


@dataclass(frozen=True)
class Event:
    """``at`` is seconds since 1970."""

    at: float
    kind: str
    facts: Mapping[str, Any]

    @classmethod
    def parse(cls, line: bytes) -> Event | None:
        """None for what is no event."""
        try:
            return cls.of(json.loads(line))
        except (ValueError, RecursionError):
            return None

    @classmethod
    def of(cls, facts: Any) -> Event | None:
        """Of a line's JSON."""
        try:
            at = datetime.fromisoformat(facts["at"]).timestamp()
            kind = facts["event"]
        except (ValueError, TypeError, KeyError, OverflowError, OSError):
            return None
        return cls(at, kind, facts) if isinstance(kind, str) and 0 <= at < LATEST else None

    @property
    def warning(self) -> bool:
        return bool(self.facts.get("warning"))

    def number(self, name: str) -> float | None:
        """A finite number that is not negative, else None."""
        return finite(self.facts.get(name), least=0.0)

    def count(self, name: str) -> int | None:
        value = self.number(name)
        return None if value is None else int(value)

    def text(self, name: str = "text") -> str:
        value = self.facts.get(name)
        return value[:_MOST_TEXT] if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        value = self.facts.get(name)
        return [one[:_MOST_TEXT] for one in value if isinstance(one, str)] if isinstance(value, list) else []

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.facts.get(name)
        return value if isinstance(value, dict) else {}


def finite(value: Any, least: float = -math.inf) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number >= least else None

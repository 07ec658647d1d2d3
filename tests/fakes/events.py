"""A sink of events that keeps what it takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


class RecordedEvents:
    """``events`` are a kind, a text and the facts each; ``heard`` is called with each kind. Facts must go into JSON."""

    def __init__(self, heard: Callable[[str], None] = lambda kind: None) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self._heard = heard

    def __call__(self, kind: str, text: str = "", *, warning: bool = False, **facts: Any) -> None:
        json.dumps(facts)
        text.encode()
        self.events.append((kind, text, facts))
        self._heard(kind)

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.events]

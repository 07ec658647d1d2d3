"""Hides secrets in what holdfast writes: events, options, manifests, messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "***"
_LEAST = 8  # shorter values would also hide ordinary words
_NAME = r"(?:pass(?:word|wd|phrase)?|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|signature)"
_SECRET_NAME = re.compile(rf"(?i)(?:^|[^a-z]){_NAME}(?:$|[^a-z])")
_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@]*:[^/\s@]*@")
_ASSIGNED = re.compile(r"([\w.-]+)=([^\s&;,\"']+)")
_NOT_SECRET = re.compile(r"(?i)(?:[-_](?:file|path|id|url|ttl|type)|key[-_]?id)$")


class Redactor:
    """Hides the values of environment variables that are named like secrets, and what else looks like one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        values = {value for name, value in environment.items() if _names_secret(name) and len(value) >= _LEAST}
        longest_first = sorted(values, key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, longest_first))) if values else None

    def text(self, text: str) -> str:
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        return _ASSIGNED.sub(_hide_value, _USER_INFO.sub(rf"\1{HIDDEN}@", text))

    def words(self, command: Sequence[str]) -> list[str]:
        """A command line; also what follows an option that is named like a secret."""
        found: list[str] = []
        for word in command:
            after = found and found[-1].startswith("-") and "=" not in found[-1] and _names_secret(found[-1])
            found.append(HIDDEN if after and not word.startswith("-") else self.text(word))
        return found

    def value(self, value: Any) -> Any:
        """Plain values with all texts in them redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


def _hide_value(match: re.Match[str]) -> str:
    return f"{match[1]}={HIDDEN}" if _names_secret(match[1]) else match[0]


def _names_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None and _NOT_SECRET.search(name) is None

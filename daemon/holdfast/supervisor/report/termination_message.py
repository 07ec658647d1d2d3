"""Kubernetes' termination message: why a container ended, as ``kubectl describe pod`` shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.errors import EXIT_MEANINGS, Exit

FILE = Path("/dev/termination-log")
_MOST_BYTES = 4096  # Kubernetes cuts off what is longer


def message_file(environment: Mapping[str, str], given: Path | None) -> Path | None:
    """The file that was given, else Kubernetes' own where this is one of its containers, else None."""
    if given is not None:
        return given
    return FILE if "KUBERNETES_SERVICE_HOST" in environment and FILE.is_file() else None


class LastLine:
    """The last thing that was said of an end: a listener of the journal's."""

    def __init__(self) -> None:
        self.text = ""

    def heard(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind in ("exit", "failed", "fenced", "stopping"):
            self.text = event["text"] or self.text

    def write(self, path: Path | None, code: Exit) -> None:
        """In place, as it is a mount. One that cannot be written changes nothing: the exit code says the same.

        What is not UTF-8 in a name becomes question marks.
        """
        if path is not None:
            text = self.text or EXIT_MEANINGS[code]
            with contextlib.suppress(OSError):
                path.write_bytes(f"exit {int(code)}: {text}\n".encode(errors="replace")[:_MOST_BYTES])

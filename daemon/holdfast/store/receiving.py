"""Bytes on their way in: no more of them than the reader is ready to take, whatever a store sends."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import TooLarge

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Bounded(io.BufferedWriter):
    """A file at ``path`` that takes no byte beyond the first ``most``: it raises TooLarge, which names the ``key``."""

    def __init__(self, path: Path, key: str, most: int | None) -> None:
        super().__init__(io.FileIO(path, "w"))
        self._key = key
        self._most = sys.maxsize if most is None else most

    def write(self, data: ReadableBuffer, /) -> int:
        if self.tell() + len(memoryview(data)) > self._most:
            raise TooLarge(f"{self._key} has more than {self._most} bytes")
        return super().write(data)

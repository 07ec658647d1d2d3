"""A plugin of pytest's (``-p fakes.without_tensorflow``): its process has no TensorFlow, as where none is installed."""

from __future__ import annotations

import sys
from typing import Any


class _Without:
    """A finder that finds no TensorFlow."""

    def __init__(self, finder: Any) -> None:
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(self, name: str, *place: Any) -> Any:
        return None if name.split(".")[0] == "tensorflow" else self._finder.find_spec(name, *place)


sys.meta_path[:] = [_Without(finder) for finder in sys.meta_path]  # type: ignore[misc]

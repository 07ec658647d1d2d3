"""A value of a pair that is made as the pair is written, in the background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Deferred:
    """``make`` may be called in any thread, once. ``size`` is about how many bytes it makes."""

    make: Callable[[], Any]
    size: int

"""Is the training waiting for a batch? Known for certain of a ``PyDataset`` with workers, which gives on demand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def awaited(epoch_iterator: Any) -> Callable[[], bool] | None:
    """Tells whether the next batch is being waited for; None for data of which that cannot be told.

    Keras asks its queue of batches for one when a step needs it, and nothing is computed until it is there. (What
    others give is prefetched: that a batch is awaited there says nothing about the step.)
    """
    enqueuer = getattr(getattr(epoch_iterator, "data_adapter", None), "enqueuer", None)
    code = getattr(getattr(type(enqueuer), "get", None), "__code__", None)
    if enqueuer is None or code is None:
        return None
    return lambda: any(_leads_to(frame, code, enqueuer) for frame in sys._current_frames().values())


def _leads_to(frame: FrameType | None, code: Any, owner: Any) -> bool:
    """Is a call of that method of ``owner`` under way there? A generator that is at rest has no frame in any thread."""
    while frame is not None:
        if frame.f_code is code and frame.f_locals.get("self") is owner:
            return True
        frame = frame.f_back
    return False

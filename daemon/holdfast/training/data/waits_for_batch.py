"""Is the training waiting for a batch? Known for certain of a ``PyDataset`` with workers, which gives on demand.

No other thread's stack is looked at: CPython does not keep one whole while its thread runs, and may crash of that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def awaited(epoch_iterator: Any) -> Callable[[], bool] | None:
    """Tells whether the next batch is being waited for; None for data of which that cannot be told.

    Keras asks its queue of batches for one when a step needs it, and nothing is computed until it is there. (What
    others give is prefetched: that a batch is awaited there says nothing about the step.) It does so by a generator,
    which runs while it waits; it is seen as Keras makes it, of an object that Keras made for this ``fit`` alone.
    """
    enqueuer = getattr(getattr(epoch_iterator, "data_adapter", None), "enqueuer", None)
    get = getattr(enqueuer, "get", None)
    if enqueuer is None or not inspect.isgeneratorfunction(get):
        return None
    newest: list[Any] = []  # a generator

    def seen() -> Any:
        newest[:] = [get()]
        return newest[0]

    enqueuer.get = seen
    return lambda: any(one.gi_running for one in newest)

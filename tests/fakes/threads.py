"""A machine that has no thread to give."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_further_thread() -> Iterator[None]:
    before = threading.stack_size(1 << 40)  # more than there can be
    try:
        yield
    finally:
        threading.stack_size(before)

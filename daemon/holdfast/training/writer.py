"""Writes drafts in the background, one after the other, in a thread that leaves the cores to the training."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque

from . import pair
from .pair import Draft
from .session import Session

_LOWEST_PRIORITY = 19
_MOST_WAITING_BYTES = 256 << 20


class Writer:
    """Each draft keeps a copy of the state alive, so only small ones may queue up behind the one being written."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Draft, int]] = deque()
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None

    def offer(self, draft: Draft) -> bool:
        """Takes the draft if the memory that it holds may wait; the training goes on. Errors go to the session."""
        size = draft.size
        with self._lock:
            waiting = sum(waits for _, waits in self._waiting)
            if self._thread is not None and waiting + size > _MOST_WAITING_BYTES:
                return False
            self._waiting.append((draft, size))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="holdfast-writer")
                self._thread.start()
        return True

    def wait(self) -> None:
        """Until all that was taken is written."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def write_now(self, draft: Draft) -> bool:
        """Writes in the caller's thread, at its priority. False if it could not be written."""
        self.wait()
        return self._write(draft)

    def _work(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while (draft := self._next()) is not None:
            self._write(draft)

    def _next(self) -> Draft | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()[0]
            self._thread = None
            return None

    def _write(self, draft: Draft) -> bool:
        try:
            manifest = pair.write(self._session, draft)
        except Exception as error:  # whatever it is, the training must not die of it
            self._session.failed(f"{type(error).__name__}: {error}")
            return False
        self._session.saved(manifest, time.monotonic() - draft.taken)
        return True

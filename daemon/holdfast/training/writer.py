"""Writes drafts in the background, one at a time, in a thread that leaves the cores to the training."""

from __future__ import annotations

import contextlib
import os
import threading

from . import pair
from .pair import Draft
from .session import Session

_LOWEST_PRIORITY = 19


class Writer:
    """While ``busy``, take no further snapshot: each one keeps a copy of the state alive."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def submit(self, draft: Draft) -> None:
        """Begins to write; the training goes on. Errors are reported through the session."""
        self.wait()
        self._thread = threading.Thread(target=self._in_background, args=(draft,), name="holdfast-writer")
        self._thread.start()

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def write_now(self, draft: Draft) -> bool:
        """Writes in the caller's thread, at its priority. False if it could not be written."""
        self.wait()
        return self._write(draft)

    def _in_background(self, draft: Draft) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        self._write(draft)

    def _write(self, draft: Draft) -> bool:
        try:
            manifest = pair.write(self._session, draft)
        except Exception as error:  # whatever it is, the training must not die of it
            self._session.failed(f"{type(error).__name__}: {error}")
            return False
        self._session.saved(manifest)
        return True

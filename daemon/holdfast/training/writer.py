"""Writes drafts in the background, one after the other, in a thread that leaves the cores to the training.

The state is in memory once more while a draft is written: as the draft's values, or as pages of its files that are not
on the disk yet. So values are let go of as they are written, and the next draft is taken when the files have been
written back, which nobody waits for otherwise.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque

from ..core.manifest import Manifest
from ..spool import sync_file
from . import pair
from .pair import Draft
from .session import Session

_LOWEST_PRIORITY = 19
_MOST_WAITING_BYTES = 16 << 20
_MOST_OWED_BYTES = 256 << 20


class Writer:
    """Each draft keeps a copy of the state alive, so only small ones may queue up behind the one being written.

    ``busy`` is true until the last one's files need no memory any more. ``failed``: the last one could not be written.
    """

    def __init__(self, session: Session) -> None:
        self.failed = False
        self._session = session
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Draft, int]] = deque()
        self._thread: threading.Thread | None = None
        self._settling: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None or (self._settling is not None and self._settling.is_alive())

    def offer(self, draft: Draft, owed: bool = False) -> bool:
        """Takes the draft if the memory that it holds may wait; the training goes on. Errors go to the session.

        What is ``owed`` cannot be taken at a later boundary instead: it may take more memory.
        """
        size = draft.size
        with self._lock:
            busy, most = (self._thread is not None, _MOST_OWED_BYTES) if owed else (self.busy, _MOST_WAITING_BYTES)
            if busy and sum(waits for _, waits in self._waiting) + size > most:
                return False
            draft.may_go.set()
            self._waiting.append((draft, size))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="holdfast-writer")
                self._thread.start()
        return True

    def wait(self) -> None:
        """Until all that was taken is in its files."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def write_now(self, draft: Draft) -> bool:
        """Writes in the caller's thread, at its priority. False if it could not be written."""
        self.wait()
        return self._write(draft) is not None

    def _work(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        written = None
        try:
            while (draft := self._next(written)) is not None:
                written = self._write(draft) or written
        finally:  # whatever ends this thread, the next draft finds another one
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _next(self, written: Manifest | None) -> Draft | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()[0]
            if written is not None and not self._session.durable and written.size > _MOST_WAITING_BYTES:
                self._settling = threading.Thread(target=self._settle, args=(written,), daemon=True)
                self._settling.start()
            self._thread = None
            return None

    def _settle(self, manifest: Manifest) -> None:
        """The files' pages are in use until they are on the disk. (A process that ends need not wait for that.)"""
        for part in manifest.files:
            with contextlib.suppress(OSError):  # stored and removed already, perhaps
                sync_file(self._session.spool.file(manifest.name.file(part)))

    def _write(self, draft: Draft) -> Manifest | None:
        try:
            manifest = pair.write(self._session, draft)
        except Exception as error:  # whatever it is, the training must not die of it
            self.failed = True
            self._session.failed(f"{type(error).__name__}: {error}")
            return None
        self.failed = False
        self._session.saved(manifest, time.monotonic() - draft.taken)
        return manifest

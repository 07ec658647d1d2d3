"""Writes snapshots in the background, one at a time, in a thread that leaves the cores to the training."""

from __future__ import annotations

import contextlib
import os
import threading

from ..core.manifest import Manifest
from . import model_file, snapshot
from .session import Session
from .snapshot import Snapshot

_LOWEST_PRIORITY = 19


class Writer:
    """While ``busy``, take no further snapshot: each one keeps a copy of the state alive."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kind = model_file.WHOLE
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def submit(self, shot: Snapshot) -> None:
        """Begins to write; the training goes on. Errors are reported through the session."""
        self.wait()
        self._thread = threading.Thread(target=self._in_background, args=(shot,), name="holdfast-writer")
        self._thread.start()

    def wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def write_now(self, shot: Snapshot) -> bool:
        """Writes in the caller's thread, at its priority. False if it could not be written."""
        self.wait()
        return self._write(shot)

    def _in_background(self, shot: Snapshot) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        self._write(shot)

    def _write(self, shot: Snapshot) -> bool:
        try:
            manifest: Manifest = snapshot.write(self._session, shot, self._kind)
        except Exception as error:  # whatever it is, the training must not die of it
            self._session.failed(f"{type(error).__name__}: {error}")
            return False
        self._kind = manifest.kind
        self._session.saved(manifest)
        return True

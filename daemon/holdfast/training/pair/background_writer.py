"""Writes drafts in the background, one after the other, in a thread that leaves the cores to the training.

The state is in memory once more while a draft is written, as the draft's values; TensorFlow keeps that memory for the
next one. The page cache must not hold it a third time, as pages that are not on the disk yet. So the writer waits
for the disk as it goes, and the next draft is taken when the files have been written back.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque

from ...core.manifest import Manifest
from ...spool import sync_file
from . import pair_files, part_sums
from .pair_files import Draft
from .target import PairTarget

_LOWEST_PRIORITY = 19
_MOST_WAITING_BYTES = 16 << 20
_MOST_REQUIRED_BYTES = 256 << 20
_LEAST_DIRTY_BYTES = 4 << 20
_DIRTY_PARTS = 8  # of the state may be in memory for the disk's sake


class Writer:
    """Each draft keeps a copy of the state alive, so only small ones may queue up behind the one being written.

    ``busy`` is true until the last one's files need no memory any more. ``failed``: the last one could not be written.
    """

    def __init__(self, target: PairTarget) -> None:
        self.failed = False
        self._target = target
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Draft, int]] = deque()
        self._thread: threading.Thread | None = None
        self._settling: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None or (self._settling is not None and self._settling.is_alive())

    def has_room(self, size: int, required: bool = False) -> bool:
        """Would a draft of so many bytes be taken? A ``required`` one has no later chance: it may use more."""
        busy, most = (self._thread is not None, _MOST_REQUIRED_BYTES) if required else (self.busy, _MOST_WAITING_BYTES)
        return not busy or sum(waits for _, waits in self._waiting) + size <= most

    def offer(self, draft: Draft, required: bool = False) -> bool:
        """Takes the draft if there is memory to hold it, and returns at once. Errors go to the target."""
        size = draft.size
        with self._lock:
            if not self.has_room(size, required):
                return False
            if self._thread is not None or self._start():
                self._waiting.append((draft, size))
                return True
        self._write(draft)
        return True

    def _start(self) -> bool:
        """False where the machine has no thread to give now: then the caller writes. Call with the lock."""
        thread = threading.Thread(target=self._work, name="holdfast-writer")
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
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
                most_dirty = max(draft.size // _DIRTY_PARTS, _LEAST_DIRTY_BYTES)
                written = self._write(draft, most_dirty) or written
        finally:  # whatever ends this thread, the next draft finds another one
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _next(self, written: Manifest | None) -> Draft | None:
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()[0]
            if written is not None and not self._target.durable and written.size > _MOST_WAITING_BYTES:
                self._settling = threading.Thread(target=self._settle, args=(written,), daemon=True)
                with contextlib.suppress(RuntimeError):  # no further thread: they are on the disk when the kernel likes
                    self._settling.start()
            self._thread = None
            return None

    def _settle(self, manifest: Manifest) -> None:
        """The files' pages are in use until they are on the disk. (A process that ends need not wait for that.)"""
        for part in manifest.files:
            try:
                sync_file(self._target.spool.file(manifest.name.file(part)))
            except FileNotFoundError:  # stored and removed already
                pass
            except OSError:
                part_sums.trust_no_file()

    def _write(self, draft: Draft, most_dirty: int | None = None) -> Manifest | None:
        try:
            manifest = pair_files.write(self._target, draft, most_dirty)
        except Exception as error:  # whatever it is, the training must not die of it
            self.failed = True
            self._target.failed(f"a checkpoint could not be written: {type(error).__name__}: {error}")
            return None
        self.failed = False
        self._target.saved(manifest, time.monotonic() - draft.taken)
        return manifest

"""``--extend`` and ``--from`` reopen a complete run. It stays complete until it has something new.

So a training that fails before its first checkpoint, or has no epoch left, leaves the run as it found it.
"""

from __future__ import annotations

from ...core.checkpoint_name import CheckpointName
from ...core.runs import COMPLETE_FILE, RunId
from ...store import Store
from ...store.wrapper import Wrapper


class Reopened(Wrapper):
    """A store that removes the run's mark right before the first new manifest.

    Not after it: a process that dies in between must leave a run that is resumed; a complete one with newer
    checkpoints than its end would never be. ``has_new`` says that there was one.
    """

    def __init__(self, store: Store, run: RunId) -> None:
        super().__init__(store)
        self._run = run
        self.has_new = False

    def create(self, key: str, data: bytes) -> str:
        folder, _, file = key.partition("/")
        if not self.has_new and folder == str(self._run) and CheckpointName.of_manifest_file(file) is not None:
            self._store.delete(f"{self._run}/{COMPLETE_FILE}")
            self.has_new = True
        return self._store.create(key, data)

"""A daemon's uploader, whose every operation on the store waits until the test lets it through.

So a test chooses where other processes come in between, what is under way when one dies, and what arrives late. The
uploader is the real one, in its own thread; that thread runs only while the test waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from fakes.clocks import Clock
from fakes.stores import FlakyStore
from holdfast.core.checkpoint_name import CheckpointName
from holdfast.core.errors import Transient
from holdfast.core.manifest import PARTS, Manifest
from holdfast.core.policy import Backoff, Retention
from holdfast.spool import Spool
from holdfast.store import Store
from holdfast.supervisor.upload.between_pairs import Closing, Job, Task
from holdfast.supervisor.upload.uploader import Uploader

WHEN_TOLD = Backoff(first=7200, most=7200)
WRITES = ("put", "create", "replace", "delete")
_PATIENCE = 60
_LOOK_SECONDS = 0.02


def is_of_a_pair(key: str) -> bool:
    stem, _, part = key.rpartition("/")[2].rpartition(".")
    return part in ("json", *PARTS) and CheckpointName.parse(stem) is not None


class GatedUploader:
    """Also what the uploader reports to. ``unpaid`` are the pairs that it was given and has not reported on."""

    vital = False

    def __init__(
        self,
        store: Store,
        spool: Spool,
        newest: tuple[int, int],
        finish: Callable[[], None],
        keep: Retention,
        tasks: Callable[[Store], Sequence[Task]],
    ) -> None:
        """``tasks`` gives what a daemon does between pairs, on the store that it is given."""
        self._store = FlakyStore(store)
        self._store.before = self._arrive
        self._clock = Clock()
        self._changed = threading.Condition()
        self._rests: str | None = None
        self._at: tuple[str, str] | None = None
        self._came_from = ""
        self._permits = 0.0
        self._refused = False
        self.given: set[CheckpointName] = set()
        self.unpaid: set[CheckpointName] = set()
        self.stored_pairs: list[CheckpointName] = []
        self.lost_pairs: list[CheckpointName] = []
        self.skipped_pairs: list[CheckpointName] = []
        self.complaints: list[str] = []
        self.writes = 0
        self._uploader = Uploader(
            self._store,
            spool,
            self,
            [*tasks(self._store), self],
            lambda complete: finish(),
            keep,
            newest,
            backoff=WHEN_TOLD,
            clock=self._clock,
        )
        self._uploader.start()
        self._until("idle", "gate")

    # --- what the test does ----------------------------------------------------------------------------------------

    @property
    def under_way(self) -> tuple[str, str] | None:
        """The operation and the key that wait to be let through."""
        return self._at

    def add(self, names: Iterable[CheckpointName]) -> None:
        """The uploader is at the gate with the first operation afterwards, if it was not under way already."""
        for name in names:
            self.given.add(name)
            self.unpaid.add(name)
            self._uploader.add(name)
            if not self._comes_to(("gate",), _LOOK_SECONDS):
                self._insist(self._wake, "gate")

    def pass_one(self) -> bool:
        """Lets one operation through, and waits for what comes of it. False if there is nothing to do."""
        self._clock.advance(WHEN_TOLD.most)  # a task that failed is due again
        if self._rests in ("failing", "idle"):  # time has passed since
            with self._changed:
                self._rests = None
            self._insist(self._wake, "gate", "idle")
        if self._at is None or self._rests == "fenced":
            return False
        self._let(1)
        self._until("gate", "idle", "failing", "fenced")
        return True

    def catch_up(self) -> None:
        """Until nothing is left to do, or an operation fails."""
        while self.pass_one() and self._rests not in ("failing", "fenced"):
            pass

    @property
    def idle(self) -> bool:
        return self._rests == "idle"

    def conclude(self) -> bool:
        """As when the training is over: once nothing is owed, ``finish``. False if that failed."""
        with self._changed:
            self._rests = None
        self._insist(lambda: self._uploader.finalize(False), "finalized", "failing", "gate")
        while self._rests == "gate":
            self._let(1)
            self._until("gate", "finalized", "failing", "fenced")
        return self._rests == "finalized"

    def fenced_off(self) -> None:
        """The lease is another's: its thread is about to end, or is told to."""
        with self._changed:
            self._rest("fenced")

    def drop(self) -> None:
        """As when the lease is lost; what is under way stays so."""
        self._uploader.drop()

    def end(self) -> None:
        """Whatever it still means to do, it may do now; then its thread is over."""
        self._let(float("inf"))
        self._uploader.close()

    def die(self, arrives: bool) -> None:
        """The process is gone. What was under way arrives at the store, or never does; nobody hears of it."""
        if arrives and self._at is not None and is_of_a_pair(self._at[1]):  # all else is under way for a moment only
            self._store.fail(self._at[0], Transient("nobody is there for the answer"), after=True)
            self._uploader.drop()
            self._let(1, refuse=True)
        else:
            self._uploader.drop()
            self._let(0, refuse=True)
        self._uploader.close()

    # --- in the uploader's thread ----------------------------------------------------------------------------------

    def _arrive(self, operation: str, key: str) -> None:
        if threading.current_thread().name != "upload":
            return
        name = CheckpointName.of_manifest_file(key.rpartition("/")[2])
        # (Retention reads manifests as well: those of pairs that are stored.)
        begins = name in self.unpaid and operation == "get" and self._came_from != "create" and not self._refused
        if begins and name != max(self.unpaid, key=lambda one: (one.loss != "nan", one.incarnation, one.save)):
            self.complaints.append(f"{name} comes before a newer pair, or before one that a training can resume from")
        self._came_from = operation
        with self._changed:
            self._at = (operation, key)
            self._rest("gate")
            self._changed.wait_for(lambda: self._permits > 0 or self._refused)
            self._at = None
            if self._permits < 1:
                raise Transient("the process is gone")
            self._permits -= 1
        self.writes += operation in WRITES and is_of_a_pair(key)

    def job(self, now: float, closing: Closing | None) -> Job | None:
        """A task that has nothing to do: it is asked when no pair is owed."""
        if closing is None:
            with self._changed:
                self._rest("idle")
        return None

    def prepare(self, manifest: Manifest) -> None:
        pass

    def stored(self, name: CheckpointName | Manifest, size: int = 0, copied: int = 0, seconds: float = 0.0) -> None:
        """Said to the listener of a name, and to the tasks of a manifest."""
        if isinstance(name, CheckpointName):
            self.unpaid.discard(name)
            self.stored_pairs.append(name)

    def cannot_copy(self, why: str) -> None:
        raise AssertionError(f"nothing here has parts, and {why}")

    def lost(self, name: CheckpointName, error: str) -> None:
        self.unpaid.discard(name)
        self.lost_pairs.append(name)

    def skipped(self, name: CheckpointName) -> None:
        self.unpaid.discard(name)
        self.skipped_pairs.append(name)

    def left_behind(self, name: CheckpointName) -> None:
        raise AssertionError("there is no deadline here")

    def failing(self, error: str, retry_in: float) -> None:
        with self._changed:
            self._rest("failing")

    def finalized(self, refusal: str) -> None:
        with self._changed:
            self._rest("finalized")

    def _rest(self, where: str) -> None:
        self._rests = where
        self._changed.notify_all()

    # --- between the two -------------------------------------------------------------------------------------------

    def _let(self, operations: float, refuse: bool = False) -> None:
        with self._changed:
            self._rests = None
            self._permits = operations
            self._refused = refuse
            self._changed.notify_all()

    def _wake(self) -> None:
        """Who waits after a failure is woken by a deadline that comes and goes."""
        self._uploader.hurry(1e12)
        self._uploader.hurry(None)

    def _insist(self, action: Callable[[], None], *places: str) -> None:
        """An uploader that has just failed hears nothing until it waits."""
        for _ in range(int(_PATIENCE / _LOOK_SECONDS)):
            action()
            if self._comes_to(places, _LOOK_SECONDS):
                return
        raise AssertionError(f"not at {places} but {self._rests}")

    def _until(self, *places: str) -> None:
        assert self._comes_to(places, _PATIENCE), f"not at {places} but {self._rests}"

    def _comes_to(self, places: Collection[str], seconds: float) -> bool:
        """An idle uploader looks up once a second; that it was idle before a pair came says nothing."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._rests in places and not (self._rests == "idle" and self._uploader.pressed), seconds
            )

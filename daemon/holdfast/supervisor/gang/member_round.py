"""What a rank other than the first needs before its command may start: the run's folder and the pair to resume from."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from ...core.checkpoint_name import CheckpointName
from ...core.errors import Busy, SettingsError
from ...core.event_sink import EventSink
from ...core.gang import messages as says
from ...spool import Spool
from ...store import Store
from ..restore.candidates import bring_pair
from .rendezvous import KeptPort
from .standing import Stand

_TRY_AGAIN = 2.0


class RankFolder:
    """``order``, ``spool`` and ``stand`` are there once a pair was brought: ``order`` is what that was for.

    ``attach`` is given the file of the run's events.
    """

    def __init__(self, work_dir: Path, store: Store, say: EventSink, attach: Callable[[Path], None]) -> None:
        self._work_dir = work_dir
        self._store = store
        self._say = say
        self._attach = attach
        self._held = contextlib.ExitStack()
        self._locked: Spool | None = None
        self.spool: Spool | None = None
        self.stand: Stand | None = None
        self.order: says.Prepare | None = None

    def open(self, order: says.Prepare) -> None:
        """Brings the pair. May be tried again. Raises OSError, HoldfastError; SettingsError where no try will help."""
        spool = self._lock(order.run)
        if self.stand is None:
            spool.check()
            self._attach(spool.file("events.jsonl"))
            spool.sweep()
            self.spool, self.stand = spool, Stand(spool)
        name = CheckpointName.parse(order.resume) if order.resume else None
        stored = set(spool.stored())
        for other in spool.pairs():
            if other in stored and other != name:
                spool.remove(other)
            elif other != name and (name is None or other.order > name.order):
                text = f"{other} is on this machine only, from when it was rank 0: it is kept, and not resumed from"
                self._say("earlier-here", text, warning=True, checkpoints=1)
        if name is not None:
            self.bring(name)
            self._say("restored", checkpoint=str(name), local=False)
        self.order = order

    def bring(self, name: CheckpointName) -> None:
        """Another pair of the run. Raises HoldfastError."""
        assert self.spool is not None
        bring_pair(self._store, self.spool, name)

    def close(self) -> None:
        self._held.close()

    def _lock(self, run: str) -> Spool:
        """Once: the kernel would take a second lock of this process for another process's."""
        if self._locked is None or self._locked.run != run:
            spool = Spool(self._work_dir / run)
            try:
                self._held.enter_context(spool.lock())
            except Busy:
                raise SettingsError(
                    f"--work-dir {self._work_dir}: another holdfast on this machine works on this run there: each rank "
                    "needs a --work-dir of its own"
                ) from None
            self._locked, self.stand = spool, None
        return self._locked


class Preparation:
    """Gets ready for one round after the other, in threads of its own: a pair is large, and rank 0 may change its mind.

    ``failed`` is called with what no further try can cure.
    """

    def __init__(self, folder: RankFolder, say: EventSink, failed: Callable[[SettingsError], None]) -> None:
        self._folder = folder
        self._say = say
        self._failed = failed
        self._one_at_a_time = threading.Lock()  # the newest order's is the last word
        self._superseded = threading.Event()
        self._port: KeptPort | None = None

    def begin(self, order: says.Prepare, tell: Callable[[says.LinkMessage], bool]) -> None:
        self.give_up()
        self._superseded = superseded = threading.Event()
        threading.Thread(target=self._work, args=(order, tell, superseded), name="restore", daemon=True).start()

    def give_up(self) -> None:
        self._superseded.set()
        self.give_port()

    def give_port(self) -> None:
        """To the command, which is about to start."""
        port, self._port = self._port, None
        if port is not None:
            port.give()

    def _work(self, order: says.Prepare, tell: Callable[[says.LinkMessage], bool], superseded: threading.Event) -> None:
        """Tries until it is here: a store or a network that fails now may not later. Rank 0 ends the waiting."""
        said = ""
        while not superseded.is_set():
            try:
                with self._one_at_a_time:
                    if superseded.is_set():
                        return
                    self._folder.open(order)
            except SettingsError as failed:
                tell(says.ReadyToStart(order.round, 0, str(failed)))
                self._failed(failed)
                return
            except Exception as failed:
                error = f"the checkpoint cannot be brought here: {failed}"
                if error != said:
                    said = error
                    self._say("store-away", f"{error}; trying again", warning=True)
                    tell(says.ReadyToStart(order.round, 0, error))
                superseded.wait(_TRY_AGAIN)
                continue
            self._is_ready(order, tell, superseded)
            return

    def _is_ready(
        self, order: says.Prepare, tell: Callable[[says.LinkMessage], bool], superseded: threading.Event
    ) -> None:
        with self._one_at_a_time:
            if not superseded.is_set():
                self.give_port()
                self._port = port = KeptPort()
                tell(says.ReadyToStart(order.round, port.number))

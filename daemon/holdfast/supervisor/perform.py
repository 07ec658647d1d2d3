"""Performs the effects that core/machine/table.py decides on. Nothing is decided here."""

from __future__ import annotations

import contextlib
import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core import wire
from ..core.checkpoint_name import CheckpointName
from ..core.event_sink import EventSink
from ..core.machine import effects, events
from ..core.machine.last_line import FinalPairs, last_line
from ..core.machine.state import State
from ..spool import only_here
from .command.channel import Channel
from .command.training_command import TrainingCommand
from .gang.hub import Hub
from .messages_to_events import Reports
from .restorer import Restorer

_FOR_GOOD = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.ENOEXEC, errno.E2BIG}


class Performer:
    """``put`` takes the events that answer an effect. ``work_dir`` and ``name`` are the run's.

    What is done to the command is done to those of all ranks, where there is a ``hub``.
    """

    def __init__(
        self,
        work_dir: Path,
        name: str,
        restorer: Restorer,
        command: TrainingCommand,
        channel: Channel,
        reports: Reports,
        say: EventSink,
        put: Callable[[events.Event], None],
        hub: Hub | None = None,
    ) -> None:
        self._hub = hub
        self._work_dir = work_dir
        self._name = name
        self._restorer = restorer
        self._command = command
        self._channel = channel
        self._reports = reports
        self._say = say
        self._put = put
        self._perform: dict[type[Any], Callable[[Any], None]] = {
            effects.Restore: self._restorer.start,
            effects.Spawn: self._spawn,
            effects.AskSave: self._ask_save,
            effects.AskStop: self._ask_stop,
            effects.DumpStacks: self._dump_stacks,
            effects.Terminate: lambda effect: self._terminate(),
            effects.Kill: self._kill,
            effects.Upload: self._upload,
            effects.DropUploads: self._drop_uploads,
            effects.ScanSpool: self._scan_spool,
            effects.Finalize: self._finalize,
            effects.Say: self._report,
        }

    def perform(self, effect: effects.Effect, state: State) -> None:
        """``state`` is the one after the step that asked for the effect."""
        if isinstance(effect, effects.Finalize) and state.outcome is not None:
            self._say("closing", outcome=state.outcome.value)  # the exit itself is too late to be stored
        if isinstance(effect, effects.ExitWith):
            self._say("exit", last_line(effect.code, state, self._final_pairs()), code=int(effect.code))
        else:
            self._perform[type(effect)](effect)

    def clear_up(self) -> None:
        """Once the command's processes are gone, and while no pair is on its way to this machine."""
        with contextlib.suppress(OSError):  # a start sweeps again
            if self._restorer.prepared is not None:
                self._restorer.prepared.spool.sweep_unfinished()

    def _spawn(self, effect: effects.Spawn) -> None:
        assert self._restorer.prepared is not None
        self._reports.command_starts()
        more = None if self._hub is None else self._hub.begins()
        try:
            self._put(events.Spawned(self._command.start(self._restorer.prepared.spool, more)))
        except (OSError, RuntimeError) as error:  # the latter where there can be no further thread
            if self._hub is not None:
                self._hub.not_begun()
            for_good = isinstance(error, OSError) and error.errno in _FOR_GOOD
            self._put(events.SpawnFailed(_words(error), for_good, random.random()))

    def _ask_save(self, effect: effects.AskSave) -> None:
        self._ask(wire.Save(effect.reason))

    def _ask_stop(self, effect: effects.AskStop) -> None:
        """SIGTERM where there is no training process that could receive the request."""
        if not self._ask(wire.Stop(effect.reason)):
            self._terminate()

    def _ask(self, message: wire.Save | wire.Stop) -> bool:
        return self._channel.send(message) if self._hub is None else self._hub.ask(message)

    def _terminate(self) -> None:
        self._command.terminate()
        if self._hub is not None:
            self._hub.end_others(at_once=False)

    def _kill(self, effect: effects.Kill) -> None:
        self._command.kill()
        if self._hub is not None:
            self._hub.end_others(at_once=True)

    def _dump_stacks(self, effect: effects.DumpStacks) -> None:
        self._command.dump_stacks(self._reports.stacks)

    def _upload(self, effect: effects.Upload) -> None:
        name = CheckpointName.parse(effect.name)
        if name is not None and self._restorer.uploader is not None:
            self._restorer.uploader.add(name)

    def _drop_uploads(self, effect: effects.DropUploads) -> None:
        if self._restorer.uploader is not None:
            self._restorer.uploader.drop()

    def _scan_spool(self, effect: effects.ScanSpool) -> None:
        """Finds pairs whose message was lost when the command died."""
        prepared, uploader = self._restorer.prepared, self._restorer.uploader
        assert prepared is not None
        assert uploader is not None
        try:
            pairs = prepared.spool.pairs()
        except OSError as error:
            self._put(events.PairLost("what was in the work dir", str(error)))
            pairs = []
        mine = (name for name in pairs if name.incarnation == prepared.incarnation)
        self._put(events.SpoolScanned(frozenset(str(name) for name in mine if name not in uploader.settled)))

    def _finalize(self, effect: effects.Finalize) -> None:
        uploader = self._restorer.uploader
        assert uploader is not None
        if effect.complete and self._restorer.resume is None and not uploader.settled:
            text = "the command stored no checkpoint: does the script use holdfast.Resume? (--extend runs it again)"
            self._say("no-checkpoint", text, warning=True)
        uploader.finalize(effect.complete)

    def _report(self, effect: effects.Say) -> None:
        facts = {} if effect.seconds is None else {"seconds": effect.seconds}
        self._say(effect.kind, effect.text, warning=effect.warning, **facts)

    def _final_pairs(self) -> FinalPairs:
        prepared, uploader = self._restorer.prepared, self._restorer.uploader
        here = only_here(self._work_dir, self._name)
        return FinalPairs(
            pairs=bool((prepared and prepared.found.newest_first) or (uploader and uploader.settled)),
            here=CheckpointName.parse(here.name) if here else None,
        )


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)

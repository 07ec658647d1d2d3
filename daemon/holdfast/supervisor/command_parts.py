"""The command and how one talks to it: the same parts for a supervisor that decides and for one that does as told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from ..core import wire
from ..core.checkpoint_name import CheckpointName
from ..core.event_sink import ByteSink
from ..core.machine.events import ChildExited
from .command.channel import Channel
from .command.reaper import Reaper
from .command.training_command import TrainingCommand
from .needed_pairs import NeededPairs
from .report.journal import Journal
from .report.systemd import Systemd
from .settings import RunSettings


class CommandParts:
    """``shown`` is the command without secrets, ``stall_timeout`` TrainingCommand's.

    ``heard``, ``welcome`` and ``ready`` are the Channel's, ``bring`` that of NeededPairs; ``on_exit`` is called in the
    reaper's thread.
    """

    def __init__(
        self,
        settings: RunSettings,
        shown: Sequence[str],
        environment: Mapping[str, str],
        console: ByteSink | None,
        stall_timeout: float,
        reaper: Reaper,
        journal: Journal,
        clock: Callable[[], float],
        heard: Callable[[wire.Message], None],
        welcome: Callable[[], wire.Welcome],
        ready: threading.Event,
        bring: Callable[[CheckpointName], None],
        on_exit: Callable[[ChildExited], None],
    ) -> None:
        self.needed = NeededPairs(bring, lambda message: self.channel.send(message))
        self.channel = Channel(heard, welcome, ready, on_hang_up=lambda: self.command.training_process_ended())
        self.command = TrainingCommand(
            settings.command,
            shown,
            environment,
            console,
            stall_timeout,
            settings.hook,
            reaper,
            self.channel,
            journal.event,
            on_exit,
        )
        self.systemd = Systemd(environment, clock)
        journal.listen(self.systemd.heard)

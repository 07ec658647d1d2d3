"""The settings of ``holdfast run``, merged from all their sources."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..core.artifacts import Limits
from ..core.gang.ranks import Rank
from ..core.machine.table import Rules
from ..core.policy import LeaseTimes, Retention
from ..core.runs import ForkSource

STAND_BY = ("waiting", "always", "off")
"""While another machine has the run; also for a restart, once there is a checkpoint; never."""
RENDEZVOUS = ("environment", "store")
"""What started the machines; holdfast, where that tells nothing: the lease in the store says where rank 0 is."""


@dataclass(frozen=True)
class RunSettings:
    """``store_wait``: the seconds that the store may be unreachable at the start; ``poll_interval``: for notices.

    ``keep_local`` pairs stay on this machine besides those that the store lacks; ``keep`` says which stay in the store.
    ``source`` is the checkpoint of ``--from``. ``restore_first``: the command waits until its pair is here.
    ``stall_timeout``: the seconds without a sign of life after which the command hangs; 0 for never.
    ``max_hours``: the age that the run may reach, over all its machines; None for any.
    ``group``: this machine's Auto Scaling group; '' if it has none.
    ``every``: when a training saves that does not say it itself (Cadence.parse).
    ``stand_by``: when the command's interpreter is started ahead (STAND_BY).
    ``hook``: the folder that ``--auto`` puts on PYTHONPATH; '' without it.
    ``rank``: which of several machines that train together this is; None for one alone. ``rendezvous``: what tells the
    command of the others (RENDEZVOUS).
    """

    name: str
    work_dir: Path
    command: tuple[str, ...]
    extend: bool = False
    rules: Rules = field(default_factory=Rules)
    lease: LeaseTimes = field(default_factory=LeaseTimes)
    poll_interval: float = 2.0
    store_wait: float = 30.0
    keep_local: int = 2
    keep: Retention = Retention()
    source: ForkSource | None = None
    restore_first: bool = False
    artifacts: Limits = Limits()
    stall_timeout: float = 0.0
    max_hours: float | None = None
    group: str = ""
    every: str = "epoch"
    stand_by: str = "off"
    hook: str = ""
    rank: Rank | None = None
    rendezvous: str = "environment"

    @property
    def ranks(self) -> int:
        """How many machines train together."""
        return 1 if self.rank is None or self.rank.count is None else self.rank.count

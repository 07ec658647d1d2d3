"""The pretended machines that train one model together, one for each rank; a training may have but one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from ..core.errors import Exit, HoldfastError
from ..spool import Progress
from .fake_imds import MetadataService
from .folder_copy import Deployment
from .simulated_machine import DrillMachine

_WAIT = 0.05
_GRACE = 30.0  # so long the others may run on after one has failed
# Nothing is tried twice: what fails once is a finding.
_QUICK = (
    *("--run", "drill", "--poll-interval", "0.05", "--max-restarts", "0"),
    *("--lease-heartbeat", "0.5", "--lease-expiry", "2"),
)


@dataclass(frozen=True)
class Site:
    """Where machines are started: what all those of a rehearsal have in common.

    ``services`` has a metadata service for each rank, and so says how many there are. Without a ``deployment`` all
    machines share the present folder. ``options`` are more of ``holdfast run``. ``show`` gets the output, ``check`` may
    raise to end all waiting.
    """

    command: Sequence[str]
    folder: Path
    services: Sequence[MetadataService]
    show: Callable[[str], None]
    check: Callable[[], None]
    deployment: Deployment | None = None
    options: Sequence[str] = field(default_factory=tuple)

    @property
    def ranks(self) -> int:
        return len(self.services)

    def start(self, name: str, store: str, rank: int) -> DrillMachine:
        """A rank's machines lie in the same place, one after the other: no path tells them apart."""
        disk = self.folder / ("machine" if self.ranks == 1 else f"rank-{rank}")
        environment = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.services[rank].endpoint,
            "AWS_EC2_METADATA_DISABLED": "false",
        }
        command, folder = self.command, None
        if self.deployment is not None:
            folder = self.deployment.install(disk / "root")
            command = self.deployment.command_in(disk / "root")
            environment |= self.deployment.environment_in(disk / "root")
        gang = () if self.ranks == 1 else ("--rank", str(rank), "--rendezvous", "store")
        options = (*_QUICK, "--ranks", str(self.ranks), *gang, *self.options)
        store, show = str(self.folder / store), self._shown(rank)
        named = name if self.ranks == 1 else f"{name}, rank {rank}"
        return DrillMachine(named, disk, store, options, command, environment, show, self.check, folder)

    def _shown(self, rank: int) -> Callable[[str], None]:
        return self.show if self.ranks == 1 else lambda line: self.show(f"rank {rank}: {line}")

    def written(self, machine: DrillMachine) -> Mapping[str, Path]:
        """What that machine's command wrote to its working folder."""
        return {} if self.deployment is None else self.deployment.written(machine.disk / "root")


class MachineGroup:
    """All ranks' machines. They vanish when its block ends, however that ends."""

    def __init__(self, site: Site, name: str, store: str) -> None:
        self._site = site
        self._store = store
        self.machines: list[DrillMachine] = []
        try:
            for rank in range(site.ranks):
                self.machines.append(site.start(name, store, rank))
        except BaseException:
            self.vanish()
            raise

    def __enter__(self) -> MachineGroup:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.vanish()

    @property
    def first(self) -> DrillMachine:
        """Rank 0's, on whose board the batches of all are counted."""
        return self.machines[0]

    def wait_until(self, reached: Callable[[Progress], bool], timeout: float) -> bool:
        """False if a machine's process ended, or the time, before ``reached`` was true."""
        self.first.wait_until(lambda progress: reached(progress) or self._ended(), timeout)
        return reached(self.first.progress())

    def wait(self, timeout: float) -> list[int | None]:
        """The exit codes by rank; None where one waits for another that has failed. Raises HoldfastError after
        ``timeout`` seconds.
        """
        until, failed = time.monotonic() + timeout, False
        while None in (codes := [machine.ended() for machine in self.machines]):
            self._site.check()
            if not failed and set(codes) - {None, Exit.COMPLETE, Exit.STOPPED}:
                until, failed = time.monotonic() + _GRACE, True
            if time.monotonic() > until:
                if failed:
                    return codes
                raise HoldfastError(f"{self.first.name}: not at its end after {timeout:.0f} s")
            time.sleep(_WAIT)
        return [machine.wait(timeout) for machine in self.machines]

    def lose(self, rank: int, timeout: float) -> None:
        """That rank's machine is cut off from one moment to the next. Returns when nobody trains any more."""
        ended = self.first.commands_ended()
        self.machines[rank].send(signal.SIGKILL)
        self.machines[rank].wait(timeout)
        if rank:
            self.first.wait_until_ended_again(ended, timeout)

    def replace(self, ranks: Collection[int], name: str) -> None:
        """Those ranks' machines vanish, and new ones with empty disks are started."""
        for rank in ranks:
            self.machines[rank].vanish()
        for rank in ranks:
            self.machines[rank] = self._site.start(name, self._store, rank)

    def vanish(self) -> None:
        for machine in self.machines:
            machine.vanish()

    def _ended(self) -> bool:
        return any(machine.ended() is not None for machine in self.machines)

"""Did the kernel kill for want of memory? What the cgroup counts, before and after."""

from __future__ import annotations

import contextlib
from pathlib import Path


class MemoryKills:
    """Counts from its making on. ``root`` is where /proc and /sys are.

    The cgroup's own count is taken where there is one: version 2's memory.events counts the groups below too, version
    1's memory.oom_control its own group alone. In no cgroup, the machine's count has to do.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._sources = _sources(root)
        self._before = self._count()

    def happened(self) -> bool:
        return self._count() > self._before

    def _count(self) -> int:
        for path in self._sources:
            with contextlib.suppress(OSError, ValueError):
                for line in path.read_text().splitlines():
                    name, _, value = line.partition(" ")
                    if name == "oom_kill":
                        return int(value)
        return 0


def _sources(root: Path) -> list[Path]:
    """Where to look, the best first. A container may see its group's files at the mount's top."""
    found = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                top, file = root / "sys/fs/cgroup", "memory.events"
            elif "memory" in controllers.split(","):
                top, file = root / "sys/fs/cgroup/memory", "memory.oom_control"
            else:
                continue
            found += [top / path.lstrip("/") / file, top / file]
    return [*found, root / "proc/vmstat"]

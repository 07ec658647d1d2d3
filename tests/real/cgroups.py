"""A memory cgroup of a test's own, of whichever version this machine has. Needs root."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/sys/fs/cgroup")
PATIENCE = 10.0


@dataclass(frozen=True)
class MemoryGroup:
    path: Path
    count: str

    def command(self, *words: str) -> list[str]:
        """``words``, begun in this group."""
        return ["/bin/sh", "-c", f'echo $$ >{self.path}/cgroup.procs && exec "$@"', "sh", *words]

    def kills(self) -> int:
        """How often the kernel killed in this group for want of memory, by its own count."""
        lines = (self.path / self.count).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


@contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """With ``limit`` bytes, and no swap beyond them."""
    name = f"holdfast-{uuid.uuid4().hex}"
    if (MOUNTS / "cgroup.controllers").exists():
        (MOUNTS / "cgroup.subtree_control").write_text("+memory")
        group = MemoryGroup(MOUNTS / name, "memory.events")
        limits = {"memory.max": limit, "memory.swap.max": 0}
    else:
        group = MemoryGroup(MOUNTS / "memory" / name, "memory.oom_control")
        limits = {"memory.limit_in_bytes": limit, "memory.memsw.limit_in_bytes": limit}
    group.path.mkdir()
    try:
        for file, value in limits.items():
            if (group.path / file).exists():  # a kernel without swap has no limit for it
                (group.path / file).write_text(str(value))
        yield group
    finally:
        _remove(group.path)


def _remove(group: Path) -> None:
    """Its last processes may still be on their way out."""
    until = time.monotonic() + PATIENCE
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            assert time.monotonic() < until, f"{group} is still in use"
            time.sleep(0.05)

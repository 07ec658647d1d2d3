"""What the facts about a store and a machine mean for a training: a finding each, with its remedy.

Pure, but for the probes (probe_store.py, probe_host.py, probe_unit.py), which gather the facts. A check that has
nothing to say for want of facts gives None.
"""

from __future__ import annotations

from collections.abc import Callable

from .facts import DoctorFacts, Finding, HostFacts, Level, MetadataFacts, StoreFacts, Unit, WorkFacts
from .host import files, gpu, memory, room, shared_memory, work_dir
from .stops import metadata, stop_timeout, watchdog
from .store import clock, conditions, drain, leftovers, made, rights

__all__ = [
    "CHECKS",
    "DoctorFacts",
    "Finding",
    "HostFacts",
    "Level",
    "MetadataFacts",
    "StoreFacts",
    "Unit",
    "WorkFacts",
    "examine",
]

CHECKS: tuple[Callable[[DoctorFacts], Finding | None], ...] = (
    rights,
    made,
    leftovers,
    conditions,
    clock,
    drain,
    work_dir,
    room,
    memory,
    shared_memory,
    files,
    gpu,
    metadata,
    stop_timeout,
    watchdog,
)


def examine(facts: DoctorFacts) -> list[Finding]:
    return [finding for check in CHECKS if (finding := check(facts)) is not None]

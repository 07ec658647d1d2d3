"""DoctorFacts of a machine that lacks nothing, for tests to take something away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from holdfast.store.conditional_write_fallback import Supported
from holdfast.supervisor.doctor import DoctorFacts, Finding, HostFacts, MetadataFacts, StoreFacts, Unit, WorkFacts

MB, GB = 10**6, 10**9
UNIT = Unit("holdfast@digits.service", stop=150.0, watchdog=60.0, notify=True, kill_mode="mixed")
GOOD = DoctorFacts(
    store=StoreFacts(
        "s3://bucket/runs",
        tried=("list", "put", "get", "delete", "parts"),
        kept=Supported(create=True, replace=True),
        round_trip=0.02,
        put_rate=50 * MB,
        get_rate=60 * MB,
        skew=0.4,
    ),
    work=WorkFacts("runs", free=100 * GB),
    metadata=MetadataFacts("answers"),
    host=HostFacts(files=65536, memory=8 * GB, shm=GB, gpus=1, gpu_growth=True),
    drain_time=110.0,
    pair=400 * MB,
    unit=UNIT,
)


def with_store(**changes: Any) -> DoctorFacts:
    return replace(GOOD, store=replace(GOOD.store, **changes))


def with_host(**changes: Any) -> DoctorFacts:
    return replace(GOOD, host=replace(GOOD.host, **changes))


def found(finding: Finding | None) -> Finding:
    assert finding is not None
    return finding

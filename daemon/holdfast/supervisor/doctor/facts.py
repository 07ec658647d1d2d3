"""The facts that are judged, and what a judgement looks like. How facts are gathered is in the probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ...core.wording import bytes_text
from ...store.conditional_write_fallback import Supported

Level = Literal["ok", "warning", "problem"]
MB, GB = 10**6, 10**9


@dataclass(frozen=True)
class Finding:
    """``check`` names what was looked at; ``remedy`` says what to do, for all but ``ok``."""

    check: str
    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class StoreFacts:
    """``denied`` has each operation that failed, and why; ``left`` the probe's objects that could not be removed.

    ``remedies`` are the settings that cure it, as far as the store's answers tell. ``kept`` is None where conditional
    writes were not tried, or could not be: ``unkept`` then says why. Rates are in bytes per second; ``round_trip`` and
    ``skew`` (this machine's clock minus the store's) in seconds. ``made``: the store's folder was not there before.
    """

    uri: str
    tried: tuple[str, ...] = ()
    denied: Mapping[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    kept: Supported | None = None
    unkept: str = ""
    round_trip: float | None = None
    put_rate: float | None = None
    get_rate: float | None = None
    skew: float | None = None
    made: bool = False
    remedies: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkFacts:
    """The work dir: why it is no good, if so, and its disk's free bytes."""

    path: str
    error: str = ""
    free: int | None = None


@dataclass(frozen=True)
class MetadataFacts:
    """``silent``: connected to or asked, and no answer in time. ``absent``: refused or no way there."""

    state: Literal["disabled", "silent", "absent", "error", "answers"]
    text: str = ""
    notice: str = ""


@dataclass(frozen=True)
class HostFacts:
    """Bytes of memory and shared memory; ``files`` is the limit on open ones. None where it cannot be told.

    ``gpus`` is how many the driver has, ``gpu_files`` whether their device files are here, and ``gpu_growth`` whether
    TensorFlow was told to take their memory as it needs it.
    """

    ec2: bool = False
    container: bool = False
    kubernetes: bool = False
    systemd: bool = False
    files: int | None = None
    memory: int | None = None
    shm: int | None = None
    gpus: int = 0
    gpu_files: bool = True
    gpu_growth: bool = False


@dataclass(frozen=True)
class Unit:
    """A systemd service as it is loaded. Times in seconds, infinite where there is no limit; ``watchdog`` 0 is off."""

    name: str
    stop: float
    watchdog: float
    notify: bool
    kill_mode: str


@dataclass(frozen=True)
class DoctorFacts:
    """``pair`` is the size of the run's newest pair in bytes, None if there is none yet; ``drain_time`` in seconds.

    ``unit`` is the service that this is, or that was asked for.
    """

    store: StoreFacts
    work: WorkFacts
    metadata: MetadataFacts
    host: HostFacts
    drain_time: float
    pair: int | None = None
    unit: Unit | None = None

    @property
    def store_time(self) -> float | None:
        """Seconds to store the newest pair: two files, a manifest, and a look before."""
        if self.pair is None or self.store.put_rate is None:
            return None
        return self.pair / self.store.put_rate + 4 * (self.store.round_trip or 0.0)


def seconds(time: float) -> str:
    return f"{time:.1f} s" if time < 10 else f"{time:.0f} s"


def size(number: float) -> str:
    return bytes_text(number)

"""What the facts about a store and a machine mean for a training: a finding each, with its remedy.

Pure: the facts are gathered by probes.py. A check that has nothing to say for want of facts gives None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rich.filesize import decimal

from ..core.policy import ask_time
from ..core.words import count

Level = Literal["ok", "warning", "problem"]
_MB, _GB = 10**6, 10**9
_SHM = "/dev/shm"  # noqa: S108 - it is looked at, not used
DOCKER_GRACE, KUBERNETES_GRACE, SYSTEMD_GRACE = 10, 30, 90
_SKEW_REFUSED, _SKEW_ODD = 900, 60
_FEW_FILES, _SMALL_SHM = 1024, 64 << 20


@dataclass(frozen=True)
class Finding:
    """``check`` names what was looked at; ``remedy`` says what to do, for all but ``ok``."""

    check: str
    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Conditions:
    """What became of conditional writes: True is as it must be, False is not, None could not be tried."""

    creates_once: bool | None = None
    refuses_stale: bool | None = None
    accepts_current: bool | None = None
    error: str = ""


@dataclass(frozen=True)
class StoreFacts:
    """``denied`` has each operation that failed, and why; ``left`` the probe's objects that could not be removed.

    Rates are in bytes per second; ``round_trip`` and ``skew`` (this machine's clock minus the store's) in seconds.
    """

    uri: str
    tried: tuple[str, ...] = ()
    denied: Mapping[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    conditions: Conditions = Conditions()
    round_trip: float | None = None
    put_rate: float | None = None
    get_rate: float | None = None
    skew: float | None = None


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
    """Bytes of memory and shared memory; ``files`` is the limit on open ones. None where it cannot be told."""

    ec2: bool = False
    container: bool = False
    kubernetes: bool = False
    systemd: bool = False
    files: int | None = None
    memory: int | None = None
    shm: int | None = None


@dataclass(frozen=True)
class Facts:
    """``pair`` is the size of the run's newest pair in bytes, None if there is none yet; ``drain_time`` in seconds."""

    store: StoreFacts
    work: WorkFacts
    metadata: MetadataFacts
    host: HostFacts
    drain_time: float
    pair: int | None = None

    @property
    def store_time(self) -> float | None:
        """Seconds to store the newest pair: two files, a manifest, and a look before."""
        if self.pair is None or self.store.put_rate is None:
            return None
        return self.pair / self.store.put_rate + 4 * (self.store.round_trip or 0.0)


def rights(facts: Facts) -> Finding:
    store = facts.store
    if not store.denied:
        return Finding("store", "ok", f"{store.uri}: {', '.join(store.tried)} work")
    if set(store.denied) == set(store.tried):
        return Finding("store", "problem", _joined(store.denied), "nothing works: correct --store or the credentials")
    in_iam = f" (in IAM: {', '.join(_actions(store.denied))})" if store.uri.startswith("s3:") else ""
    remedy = f"allow that for all objects under {store.uri}{in_iam}"
    return Finding("store", "problem", _joined(store.denied), remedy)


def _joined(denied: Mapping[str, str]) -> str:
    by_error: dict[str, list[str]] = {}
    for operation, error in denied.items():
        by_error.setdefault(error, []).append(operation)
    return "; ".join(f"{', '.join(operations)} failed: {error}" for error, operations in by_error.items())


_IAM = {
    "list": "s3:ListBucket",
    "put": "s3:PutObject",
    "get": "s3:GetObject",
    "delete": "s3:DeleteObject",
    "parts": "s3:AbortMultipartUpload",
}


def _actions(denied: Mapping[str, str]) -> list[str]:
    return [_IAM[operation] for operation in denied if operation in _IAM]


def leftovers(facts: Facts) -> Finding | None:
    if not facts.store.left:
        return None
    return Finding("probe", "warning", f"could not be removed: {', '.join(facts.store.left)}", "remove them by hand")


def conditions(facts: Facts) -> Finding | None:
    found = facts.store.conditions
    if found.error:
        remedy = "the run's lease needs them: use a store that has If-None-Match and If-Match"
        return Finding("conditional writes", "problem", f"failed: {found.error}", remedy)
    wrong = [
        text
        for value, text in (
            (found.creates_once, "a create-only write replaced an object"),
            (found.refuses_stale, "a replacement with an outdated tag was accepted"),
            (found.accepts_current, "a replacement with the right tag was refused"),
        )
        if value is False
    ]
    if wrong:
        remedy = "this store cannot keep two machines apart: see to it yourself that one at a time works on a run"
        return Finding("conditional writes", "warning", "; ".join(wrong), remedy)
    return None if found == Conditions() else Finding("conditional writes", "ok", "kept, as the run's lease needs them")


def clock(facts: Facts) -> Finding | None:
    skew = facts.store.skew
    if skew is None:
        return None
    text = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the store's"
    if abs(skew) >= _SKEW_REFUSED:
        return Finding("clock", "problem", text, "S3 refuses requests 15 minutes off: set the clock (chrony)")
    if abs(skew) >= _SKEW_ODD:
        return Finding("clock", "warning", text, "deadlines of notices will be misread: set the clock (chrony)")
    return Finding("clock", "ok", "agrees with the store's")


def drain(facts: Facts) -> Finding | None:
    """Of a drain's time the child may take a part for saving; the rest is the upload's."""
    rate, takes = facts.store.put_rate, facts.store_time
    if rate is None:
        return None
    share = facts.drain_time - ask_time(facts.drain_time)
    speed = f"round trip {1000 * (facts.store.round_trip or 0):.0f} ms, put {rate / _MB:.0f} MB/s"
    if facts.store.get_rate is not None:
        speed += f", get {facts.store.get_rate / _MB:.0f} MB/s"
    if takes is None:
        return Finding("drain", "ok", f"{speed}: in {share:.0f} s of a drain, a pair of up to {_size(rate * share)}")
    text = f"{speed}: storing the newest pair ({_size(facts.pair or 0)}) takes about {_seconds(takes)}"
    if takes > facts.drain_time:
        remedy = "use a bucket in this region, or a faster network; a spot notice gives 120 s and no more"
        return Finding("drain", "problem", f"{text}, and a drain has {facts.drain_time:.0f} s", remedy)
    if takes > share:
        text += f", and a drain that waits {ask_time(facts.drain_time):.0f} s for the save has {share:.0f} s left"
        return Finding("drain", "warning", text, "save sooner: smaller pairs, a nearer bucket, a longer --drain-time")
    return Finding("drain", "ok", f"{text} of {facts.drain_time:.0f} s")


def work_dir(facts: Facts) -> Finding:
    work = facts.work
    if work.error:
        remedy = "give a --work-dir on a local disk that this user may write"
        return Finding("work dir", "problem", f"{work.path}: {work.error}", remedy)
    return Finding("work dir", "ok", f"{work.path}: takes files, renames and locks them")


def room(facts: Facts) -> Finding | None:
    free = facts.work.free
    if free is None:
        return None
    text = f"{_size(free)} free in {facts.work.path}"
    if facts.pair is not None:
        if free < 2 * facts.pair:
            remedy = "two pairs must fit: make room, or give another --work-dir"
            return Finding("disk", "problem", f"{text}, and a pair has {_size(facts.pair)}", remedy)
        fitting = count(free // max(facts.pair, 1), "pair")
        return Finding("disk", "ok", f"{text}: room for {fitting} of {_size(facts.pair)}")
    if free < _GB:
        return Finding("disk", "warning", text, "two pairs must fit: make sure that they do, or make room")
    return Finding("disk", "ok", f"{text}: room for two pairs of up to {_size(free / 2)}")


def metadata(facts: Facts) -> Finding:
    found, check = facts.metadata, "metadata service"
    missed = "spot notices will not be seen"
    if found.state == "disabled":
        return Finding(check, "ok", "disabled (AWS_EC2_METADATA_DISABLED): only signals can announce an interruption")
    if found.state == "answers":
        if found.notice:
            return Finding(check, "warning", f"a notice stands: {found.notice}", "train on another machine")
        return Finding(check, "ok", "answers with a token (IMDSv2); no notice stands")
    if found.state == "error":
        remedy = "enable it: aws ec2 modify-instance-metadata-options --http-endpoint enabled --instance-id ID"
        return Finding(check, "problem", f"{found.text}: {missed}", remedy)
    elsewhere = "if this is not EC2, set AWS_EC2_METADATA_DISABLED=true"
    level: Level = "problem" if facts.host.ec2 else "warning"
    if found.state == "silent":
        remedy = (
            "in a container the answer needs a hop limit of 2: aws ec2 modify-instance-metadata-options "
            f"--http-put-response-hop-limit 2 --instance-id ID; {elsewhere}"
        )
        return Finding(check, level, f"no answer to the request for a token ({found.text}): {missed}", remedy)
    return Finding(check, level, f"none here ({found.text}): {missed}", f"on EC2, enable it; {elsewhere}")


def files(facts: Facts) -> Finding | None:
    limit = facts.host.files
    if limit is None:
        return None
    if limit < _FEW_FILES:
        return Finding("open files", "warning", f"the limit is {limit}", "raise it: ulimit -n 65536 (LimitNOFILE=)")
    return Finding("open files", "ok", f"the limit is {limit}")


def memory(facts: Facts) -> Finding | None:
    available = facts.host.memory
    if available is None:
        return None
    least = 2 * facts.pair if facts.pair is not None else _GB
    text = f"{_size(available)} available"
    if available < least:
        remedy = "a snapshot needs room beside the training: take a larger machine, or raise the container's limit"
        return Finding("memory", "warning", f"{text}, less than {_size(least)}", remedy)
    return Finding("memory", "ok", text)


def shared_memory(facts: Facts) -> Finding | None:
    if facts.host.shm is None:
        return Finding(
            "shared memory", "warning", f"there is no {_SHM}", "data loaders with processes need it: mount it"
        )
    if facts.host.shm <= _SMALL_SHM:
        remedy = "data loaders with processes need more: docker run --shm-size 1g"
        return Finding("shared memory", "warning", f"{_size(facts.host.shm)} in {_SHM}", remedy)
    return Finding("shared memory", "ok", f"{_size(facts.host.shm)} in {_SHM}")


def stop_timeout(facts: Facts) -> Finding:
    """What stands between SIGTERM and SIGKILL cannot be seen from inside; its defaults are known."""
    needed = math.ceil(facts.drain_time) + 10
    if facts.host.kubernetes:
        grace, who, remedy = KUBERNETES_GRACE, "Kubernetes", f"terminationGracePeriodSeconds: {needed}"
    elif facts.host.container:
        grace, who, remedy = DOCKER_GRACE, "docker stop", f"docker run --stop-timeout {needed}"
    elif facts.host.systemd:
        grace, who, remedy = SYSTEMD_GRACE, "systemd", f"TimeoutStopSec={needed}"
    else:
        return Finding("stop", "ok", "neither a container nor a unit: nothing known kills during a drain")
    if facts.drain_time < grace:
        return Finding("stop", "ok", f"{who} kills after {grace} s by default; a drain has {facts.drain_time:.0f} s")
    takes = f" (storing the newest pair takes about {_seconds(facts.store_time)})" if facts.store_time else ""
    text = f"{who} kills after {grace} s by default, and a drain may take {facts.drain_time:.0f} s{takes}"
    return Finding("stop", "warning", text, f"unless it is set already: {remedy}")


CHECKS: tuple[Callable[[Facts], Finding | None], ...] = (
    rights,
    leftovers,
    conditions,
    clock,
    drain,
    work_dir,
    room,
    memory,
    shared_memory,
    files,
    metadata,
    stop_timeout,
)


def examine(facts: Facts) -> list[Finding]:
    return [finding for check in CHECKS if (finding := check(facts)) is not None]


def _seconds(seconds: float | None) -> str:
    return f"{seconds:.1f} s" if seconds is not None and seconds < 10 else f"{seconds:.0f} s"


def _size(size: float) -> str:
    return decimal(int(size))

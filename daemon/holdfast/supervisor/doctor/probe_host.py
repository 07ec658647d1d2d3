"""Gathers the facts about this machine, by looking at it and by trying its work dir."""

from __future__ import annotations

import resource
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil

from ...core.errors import Busy
from ...core.imds_paths import SPOT
from ...spool import file_lock, replacing
from ..notices.hardware import is_ec2
from ..notices.imds import MetadataClient
from ..notices.metadata_http import MetadataAbsent, MetadataError
from .facts import HostFacts, MetadataFacts, WorkFacts

_IN_CONTAINERS = ("docker", "kubepods", "containerd", "libpod", "lxc")


def work_facts(path: Path) -> WorkFacts:
    """Tries the work dir, or the nearest folder above it that exists."""
    nearest = path.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".holdfast-", dir=nearest) as folder:
            with replacing(Path(folder, "file"), durable=True) as temporary:
                temporary.write_bytes(b"probe")
            with file_lock(Path(folder, "lock")):
                pass
        return WorkFacts(str(path), free=shutil.disk_usage(nearest).free)
    except Busy:
        return WorkFacts(str(path), error="files cannot be locked there")
    except OSError as error:
        return WorkFacts(str(path), error=error.strerror or str(error))


def metadata_facts(client: MetadataClient | None) -> MetadataFacts:
    if client is None:
        return MetadataFacts("disabled")
    try:
        return MetadataFacts("answers", notice=(client.read(SPOT) or "")[:200])
    except MetadataAbsent as error:
        silent = isinstance(error.__context__, TimeoutError)
        return MetadataFacts("silent" if silent else "absent", str(error))
    except MetadataError as error:
        return MetadataFacts("error", str(error))


def host_facts(root: Path, environment: Mapping[str, str], pid: int) -> HostFacts:
    """``root`` is '/', or a likeness of it."""
    kubernetes = "KUBERNETES_SERVICE_HOST" in environment
    cgroup = cgroup_of(root)
    marked = (root / ".dockerenv").exists() or (root / "run/.containerenv").exists() or "container" in environment
    return HostFacts(
        ec2=is_ec2(root),
        container=marked or kubernetes or any(word in cgroup for word in _IN_CONTAINERS) or pid == 1,
        kubernetes=kubernetes,
        systemd="NOTIFY_SOCKET" in environment or "INVOCATION_ID" in environment,
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        memory=_memory(root / "sys/fs/cgroup"),
        shm=_size_of(root / "dev/shm"),
        gpus=len(list((root / "proc/driver/nvidia/gpus").glob("*"))),
        gpu_files=(root / "dev/nvidia-uvm").exists(),
        gpu_growth=environment.get("TF_FORCE_GPU_ALLOW_GROWTH", "").lower() in ("true", "1"),
    )


def cgroup_of(root: Path) -> str:
    """The text that says where this process belongs."""
    return _text(root / "proc/self/cgroup")


def _memory(cgroup: Path) -> int:
    """What is available on the machine, or what is left below the container's limit if that is less."""
    available = psutil.virtual_memory().available
    limit, used = _text(cgroup / "memory.max"), _text(cgroup / "memory.current")
    if limit.isdigit() and used.isdigit():
        return min(available, max(0, int(limit) - int(used)))
    return available


def _size_of(path: Path) -> int | None:
    try:
        return shutil.disk_usage(path).total
    except OSError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""

"""training_options.json, and what a result depends on: for people who ask later how a model came about."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .settings import RunSettings

_PACKAGES = ("holdfast", "tensorflow", "keras", "numpy", "h5py")


def origin(command: Sequence[str]) -> dict[str, Any]:
    """What the result depends on besides the data, as far as it is seen from outside the script."""
    return {
        "command": list(command),
        "script_sha256": _script_hash(command),
        "versions": {"python": platform.python_version(), **_versions()},
        "cpu": _cpu_family(),
    }


def training_options(settings: RunSettings, store: str, run: str, incarnation: int) -> bytes:
    document = {
        "run": run,
        "incarnation": incarnation,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "store": store,
        "work_dir": str(settings.work_dir),
        "extend": settings.extend,
        "drain_time": settings.rules.drain_time,
        "rebalance": settings.rules.rebalance,
        "poll_interval": settings.poll_interval,
        **origin(settings.command),
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _script_hash(command: Sequence[str]) -> str | None:
    for word in command:
        path = Path(word)
        if path.suffix == ".py" and path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return None


def _cpu_family() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()

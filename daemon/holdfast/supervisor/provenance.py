"""training_options.json, and what a result depends on: for people who ask later how a model came about."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.redact import Redactor
from .settings import RunSettings

_PACKAGES = ("tensorflow", "jax", "jaxlib", "torch", "keras", "tf_keras", "numpy", "h5py")


def origin(command: Sequence[str], redactor: Redactor) -> dict[str, Any]:
    """What the result depends on besides the data, as far as it is seen from outside the script. Tells no secret."""
    return {
        "command": redactor.words(command),
        "script_sha256": _script_hash(command),
        "versions": {"python": platform.python_version(), **_versions()},
        "cpu": _cpu_family(),
    }


_WORDS = {"command": "the command", "script_sha256": "the script", "cpu": "the CPU"}


def changes(before: Mapping[str, Any], now: Mapping[str, Any], of: Sequence[str] = (*_WORDS, "versions")) -> list[str]:
    """What is not as it was when a checkpoint was made, a line for each."""
    found = []
    for key, text in _WORDS.items():
        if key in of and key in before and before[key] != now.get(key):
            found.append(f"{text} is another" + ("" if key == "script_sha256" else f": {_short(before[key])} before"))
    then = before.get("versions") if "versions" in of else None
    for package, version in sorted(then.items()) if isinstance(then, Mapping) else ():
        here = now["versions"].get(package)
        if here is not None and here != version:
            found.append(f"{package} {_short(version)} is {here} here")
    return found


def _short(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return "".join(c if c.isprintable() else "?" for c in text[:120])


def training_options(settings: RunSettings, store: str, run: str, incarnation: int, redactor: Redactor) -> bytes:
    document = {
        "run": run,
        "incarnation": incarnation,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "store": redactor.text(store),
        "work_dir": str(settings.work_dir),
        "extend": settings.extend,
        "drain_time": settings.rules.drain_time,
        "rebalance": settings.rules.rebalance,
        "poll_interval": settings.poll_interval,
        "keep": settings.keep.to_plain(),
        **origin(settings.command, redactor),
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def _versions() -> dict[str, str]:
    found = {"holdfast": __version__}
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

"""Gathers the facts about the systemd service that this is, or that runs a run on this machine.

systemd answers for any service that it has loaded, so the service itself and a person at a terminal both find out what
was set, by whichever drop-in.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping

from .facts import Unit

_PROPERTIES = ("LoadState", "Type", "KillMode", "TimeoutStopUSec", "WatchdogUSec")
_PATIENCE = 5.0
_UNITS = {
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "month": 2629800.0,
    "y": 31557600.0,
}  # fmt: skip


def unit_facts(cgroup: str, run: str | None, show: Callable[[str], str]) -> Unit | None:
    """``cgroup`` is the text of /proc/self/cgroup; ``run`` names an instance of the shipped unit.

    ``show`` gives what ``systemctl show`` prints for a unit, or nothing. None where there is no such service.
    """
    for name in (own_unit(cgroup), f"holdfast@{run}.service" if run else None):
        if name is not None and (unit := _unit(name, _properties(show(name)))) is not None:
            return unit
    return None


def own_unit(cgroup: str) -> str | None:
    """The system's service that this process belongs to; a login's own services are not meant."""
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "name=systemd") and "/user.slice/" not in path:
            for part in reversed(path.split("/")):
                if part.endswith(".service"):
                    return part
    return None


def ask_systemctl(unit: str) -> str:
    """Nothing where there is no systemd to ask."""
    words = ["systemctl", "show", f"--property={','.join(_PROPERTIES)}", "--", unit]
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False).stdout
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""


def _properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _unit(name: str, found: Mapping[str, str]) -> Unit | None:
    stop, watchdog = (time_span(found.get(key, "")) for key in ("TimeoutStopUSec", "WatchdogUSec"))
    if found.get("LoadState") != "loaded" or stop is None:
        return None
    return Unit(name, stop, watchdog or 0.0, found.get("Type") == "notify", found.get("KillMode", ""))


def time_span(text: str) -> float | None:
    """Seconds of systemd's ``2min 30s``; None for anything else."""
    if text == "infinity":
        return float("inf")
    if text == "0":
        return 0.0
    parts = [re.fullmatch(r"([0-9.]+)([a-z]+)", word) for word in text.split()]
    if not parts or not all(part and part[2] in _UNITS for part in parts):
        return None
    return sum(float(part[1]) * _UNITS[part[2]] for part in parts if part)

"""Notices that ``holdfast notice`` hands in: a file in the work dir, written by the command, read by the daemon.

So an EventBridge rule, a Slurm job's signal handler or a person can say what no metadata service of this machine does.
A file of another boot is none, and neither is one whose deadline is long over: the machine is still there.
"""

from __future__ import annotations

import json
import math
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...core.machine.events import NoticeStands
from .metadata_http import MetadataError

_MOST_BYTES = 4096
_LONGEST = 80
_STALE = 600.0
_LAST_DATE = 253402300799.0  # 9999-12-31 23:59:59 UTC
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_GARBAGE = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


def notice_file(work_dir: Path, name: str) -> Path:
    """``name`` is the run's, without its number."""
    return work_dir / f".notice-{name}.json"


def take_back(work_dir: Path, name: str | None) -> list[str]:
    """Removes what was handed in, to one run or to all, and says what that was. Raises OSError."""
    files = [notice_file(work_dir, name)] if name else sorted(work_dir.glob(notice_file(work_dir, "*").name))
    return [text for file in files if (text := _removed(file))]


def _removed(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            kind = json.loads(opened.read(_MOST_BYTES))["kind"]
    except FileNotFoundError:
        return None
    except (OSError, *_GARBAGE):
        kind = None
    file.unlink(missing_ok=True)
    name = file.name.removeprefix(".notice-").removesuffix(".json")
    return f"{kind if is_kind(kind) else 'a notice that cannot be read'} ({name})"


@dataclass(frozen=True)
class Handed:
    """``deadline`` is a Unix time; None if it is unknown."""

    kind: str
    deadline: float | None

    def to_json(self) -> bytes:
        return json.dumps({"kind": self.kind, "deadline": self.deadline, "boot": boot()}).encode()

    def until(self, work_dir: Path) -> str:
        """When it ends, and the command that ends it."""
        end = "this machine's next boot"
        if self.deadline is not None:
            at = datetime.fromtimestamp(min(self.deadline + _STALE, _LAST_DATE), UTC)
            end = f"{at:%Y-%m-%d %H:%M:%S} UTC"
        command = f"holdfast notice --over --work-dir {shlex.quote(str(work_dir))}"
        return f"until {end}, or until you run: {command}"


class HandedNotices:
    """``wall`` is seconds since 1970."""

    def __init__(self, path: Path, wall: Callable[[], float] = time.time) -> None:
        self._path = path
        self._wall = wall

    def ask(self) -> NoticeStands | None:
        """Raises MetadataError for a file that makes no sense."""
        try:
            with self._path.open("rb") as file:
                data = file.read(_MOST_BYTES)
        except OSError:
            return None
        try:
            found = _read(json.loads(data))
        except _GARBAGE:
            raise MetadataError(f"{self._path} is not what holdfast notice writes; remove it") from None
        seconds = None if found is None or found.deadline is None else found.deadline - self._wall()
        if found is None or (seconds is not None and seconds < -_STALE):
            return None
        return NoticeStands(f"{found.kind} (handed in)", seconds, until=found.until(self._path.parent))


def _read(document: dict[str, Any]) -> Handed | None:
    if document["boot"] != boot():
        return None
    kind, deadline = document["kind"], document["deadline"]
    if not is_kind(kind) or not (deadline is None or math.isfinite(deadline)):
        raise ValueError("kind or deadline")
    return Handed(kind, deadline)


def is_kind(text: object) -> bool:
    """A short text without parentheses: what is in them is no part of a notice's identity."""
    return isinstance(text, str) and 0 < len(text) <= _LONGEST and text.isprintable() and not set("()") & set(text)


def boot() -> str:
    """This boot of the machine; empty where it is unknown."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""

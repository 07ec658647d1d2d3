"""The settings of ``holdfast run``, checked and put together: all that can be checked before anything is changed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ...auto.environment import FOLDER
from ...core.artifacts import Limits
from ...core.errors import SettingsError
from ...core.gang.ranks import rank_of
from ...core.machine.table import Rules
from ...core.policy import LeaseTimes
from ...core.runs import ForkSource, RunId, check_name
from ...supervisor.command.isolation import check_reachable
from ...supervisor.ending.autoscaling import Hook
from ...supervisor.ending.on_end import Endings, check_choice
from ...supervisor.settings import RunSettings
from ..options import checked_interval, retention


def endings_of(given: dict[str, Any]) -> Endings:
    """Raises SettingsError."""
    text = given["lifecycle_hook"]
    hook = None if text is None else Hook.parse(text)
    if text is not None and hook is None:
        raise SettingsError(f"--lifecycle-hook {text!r}: give GROUP/HOOK, the names of the group and of its hook")
    return Endings(
        on_complete=check_choice("--on-complete", given["on_complete"]),
        on_failure=check_choice("--on-failure", given["on_failure"]),
        hook=hook,
    )


def settings_of(given: dict[str, Any]) -> RunSettings:
    """Checks all that can be checked before anything is changed. Raises SettingsError."""
    name = given["run"]
    if RunId.parse(name) is None:
        check_name(name)
    if given["lease_heartbeat"] * 2 > given["lease_expiry"]:
        raise SettingsError(
            "--lease-expiry must be at least twice --lease-heartbeat, or a living holder counts as dead"
        )
    rank = rank_of(given["rank"], given["ranks"], os.environ)
    if rank is not None and given["stand_by"] != "off":
        raise SettingsError("--stand-by serves one machine alone: where several train together, leave it off")
    return RunSettings(
        name=name,
        work_dir=_writable(given["work_dir"]),
        command=_command(given["command"], given["auto"]),
        extend=given["extend"],
        restore_first=given["restore_first"],
        rules=Rules(
            drain_time=given["drain_time"],
            max_restarts=given["max_restarts"],
            rebalance=given["rebalance"],
            auto=given["auto"],
        ),
        lease=LeaseTimes(given["lease_heartbeat"], given["lease_expiry"], given["lease_wait"]),
        poll_interval=given["poll_interval"],
        store_wait=given["store_wait"],
        keep_local=given["keep_local"],
        keep=retention(given["keep_last"], given["keep_every"], given["keep_best"]),
        artifacts=Limits(given["artifacts_limit"], given["artifacts_interval"], given["artifacts_wait"]),
        source=ForkSource.parse(given["source"]) if given["source"] else None,
        stall_timeout=_stall_timeout(given["stall_timeout"]),
        max_hours=given["max_hours"],
        group=hook.group if (hook := Hook.parse(given["lifecycle_hook"] or "")) else "",
        every=checked_interval(given["every"]),
        stand_by=given["stand_by"],
        hook=str(FOLDER) if given["auto"] else "",
        rank=rank,
        rendezvous=given["rendezvous"],
    )


def _stall_timeout(given: float) -> float:
    if 0 < given < 1:
        raise SettingsError(f"--stall-timeout {given:g}: give 1 s or more (1800, say), or 0 to never restart it")
    return given


def _command(command: tuple[str, ...], auto: bool) -> tuple[str, ...]:
    if not command:
        raise SettingsError(
            "no command: give the training command after '--', as in: holdfast run … -- python train.py"
        )
    if shutil.which(command[0]) is None:
        raise SettingsError(
            f"the command {command[0]!r} does not exist or may not be executed; correct it, or give its path"
        )
    if auto:
        check_reachable(command)
    return command


def check_apart(uri: str, work_dir: Path) -> None:
    """A pair that this machine needs no longer is removed from the work dir, and must stay in the store."""
    if os.path.realpath(uri) == os.path.realpath(work_dir):
        raise SettingsError(
            f"--work-dir {work_dir} is the folder of --store: give it another one, as in --work-dir work"
        )


def _writable(path: Path) -> Path:
    """The work dir, or the nearest folder above it that exists, must take new files."""
    nearest = path.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise SettingsError(f"--work-dir {path}: {nearest} is not a folder")
    try:
        with tempfile.TemporaryDirectory(prefix=".holdfast-", dir=nearest):
            pass
    except OSError as error:
        raise SettingsError(
            f"--work-dir {path}: {nearest} takes no new files ({error.strerror}); give one that this user may write"
        ) from None
    return path

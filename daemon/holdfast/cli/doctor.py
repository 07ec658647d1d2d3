"""``holdfast doctor``: tries what a training on this machine will need."""

from __future__ import annotations

import dataclasses
import math
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import click

from ..auto.dry_start import start_dry
from ..core.errors import Exit, SettingsError, StoreError
from ..core.machine.rules.auto_failures import what_was_found
from ..core.wording import count
from ..store import Store
from ..store.catalog import existing_run, read_contents
from ..supervisor.command.isolation import check_reachable
from ..supervisor.doctor import DoctorFacts, Finding, Unit, examine
from ..supervisor.doctor.probe_host import cgroup_of, host_facts, metadata_facts, work_facts
from ..supervisor.doctor.probe_store import StoreProbe
from ..supervisor.doctor.probe_unit import ask_systemctl, unit_facts
from ..supervisor.notices.imds import client_from_environment
from .common import show
from .common.shared import as_json_option, scratch
from .common.show import Column
from .options import config_option, option, optional_store_options, seconds, the_store

_MIB = 1 << 20
_COLUMNS = (
    Column("level", styles={"ok": "green", "warning": "yellow", "problem": "bold red"}),
    Column("check"),
    Column("finding"),
)


@click.command(context_settings={"allow_interspersed_args": False})
@config_option
@optional_store_options
@as_json_option
@option("--run", metavar="NAME", help="The run whose newest pair and systemd unit to look at.")
@option("--work-dir", type=click.Path(path_type=Path), default=Path("runs"), help="Where this machine keeps the run.")
@seconds("--drain-time", 110.0, "The longest that a stop may take.", 1.0)
@click.option(
    "--probe-size",
    type=click.IntRange(0, 4096),
    default=16,
    show_default=True,
    metavar="MIB",
    help="0: measure nothing.",
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def doctor(as_json: bool, command: tuple[str, ...], **settings: Any) -> int:
    """Test what a training on this machine will need: the store, the disk, the notices, the time to drain.

    With a COMMAND after '--', start it up to its first fit, train nothing, and say whether holdfast run --auto can
    resume it, and what keeps it from being exact. --store may then be left out.

    Exit 0 if there is no problem (warnings do not count), 78 if there is one.
    """
    if not command and settings["store"] is None:
        raise SettingsError("give --store to test this machine and the store, or a training command after '--'")
    findings = _of_command(command) if command else []
    facts = None if settings["store"] is None else _gather(**settings)
    findings += [] if facts is None else examine(facts)
    problems = sum(finding.level == "problem" for finding in findings)
    if as_json:
        show.as_json(_json(facts, findings, problems))
    else:
        show.table(_COLUMNS, [_row(finding) for finding in findings])
        warnings = sum(finding.level == "warning" for finding in findings)
        show.say(f"{count(len(findings), 'check')}: {count(problems, 'problem')}, {count(warnings, 'warning')}")
    return int(Exit.USAGE) if problems else 0


def _of_command(command: tuple[str, ...]) -> list[Finding]:
    if shutil.which(command[0]) is None:
        raise SettingsError(f"the command {command[0]!r} does not exist or may not be executed")
    check_reachable(command)
    dry = start_dry(command, os.environ)
    if not dry.fits and dry.code:
        show.warn("the command's last lines:", dry.last_lines)
        text = f"the command ended with exit {dry.code} before its first fit; its last lines are above"
        return [Finding("fit", "problem", text)]
    if not dry.fits:
        return [Finding("fit", "problem", f"nothing to make resumable: {what_was_found(dry.python, dry.keras)}")]
    return [_of_script(row, fit.script if len(dry.fits) > 1 else "") for fit in dry.fits for row in fit.findings]


def _of_script(row: tuple[str, Any, str, str], script: str) -> Finding:
    check, level, text, remedy = row
    return Finding(f"{script}: {check}" if script else check, level, text, remedy)


def _gather(run: str | None, work_dir: Path, drain_time: float, probe_size: int, **settings: Any) -> DoctorFacts:
    store = the_store(settings)
    client = client_from_environment(os.environ, time.monotonic)
    with scratch() as folder:
        probe = StoreProbe(store, folder, f"holdfast-doctor-{secrets.token_hex(8)}", time.perf_counter)
        return DoctorFacts(
            store=probe.facts(probe_size * _MIB),
            work=work_facts(work_dir),
            metadata=metadata_facts(client),
            host=host_facts(Path("/"), os.environ, os.getpid()),
            drain_time=drain_time,
            pair=_newest_size(store, run),
            unit=unit_facts(cgroup_of(Path("/")), run, ask_systemctl),
        )


def _newest_size(store: Store, run: str | None) -> int | None:
    """None where there is no such run, or no pair yet; a store that fails has its own finding."""
    if run is None:
        return None
    try:
        return next((pair.size for pair in read_contents(store, existing_run(store, run)).pairs), None)
    except (SettingsError, StoreError):
        return None


def _row(finding: Finding) -> list[str]:
    return [finding.level, finding.check, f"{finding.text}. {_sentence(finding.remedy)}".rstrip(" .")]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _json(facts: DoctorFacts | None, findings: list[Finding], problems: int) -> dict[str, Any]:
    found = {"problems": problems, "findings": [dataclasses.asdict(finding) for finding in findings]}
    if facts is None:
        return found
    store = facts.store
    return {
        "store": store.uri,
        **found,
        "measured": {
            "round_trip_seconds": store.round_trip,
            "put_bytes_per_second": store.put_rate,
            "get_bytes_per_second": store.get_rate,
            "clock_skew_seconds": store.skew,
            "pair_bytes": facts.pair,
            "store_seconds": facts.store_time,
            "drain_seconds": facts.drain_time,
            "unit": None if facts.unit is None else _unit(facts.unit),
        },
    }


def _unit(unit: Unit) -> dict[str, Any]:
    """JSON has no infinity: no limit is null."""
    return {
        "name": unit.name,
        "stop_seconds": unit.stop if math.isfinite(unit.stop) else None,
        "watchdog_seconds": unit.watchdog if math.isfinite(unit.watchdog) else None,
    }

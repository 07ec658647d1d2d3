"""``holdfast run``: the daemon."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..core.artifacts import Limits
from ..core.errors import EXIT_MEANINGS, Exit, HoldfastError, SettingsError
from ..core.machine.table import Rules
from ..core.policy import LeaseTimes
from ..core.redact import Redactor
from ..core.runs import ForkSource, RunId, check_name
from ..spool import only_here
from ..store.conditions import Conditional
from ..supervisor.command.reaper import Reaper
from ..supervisor.command.side_command import SideCommand
from ..supervisor.ending.autoscaling import Hook, Member
from ..supervisor.ending.on_end import Action, Closer, Endings, check_choice, decide
from ..supervisor.loop import Supervisor
from ..supervisor.notices.hardware import is_ec2
from ..supervisor.notices.imds import ENDPOINT_VARIABLE, MetadataClient, client_from_environment
from ..supervisor.notices.imds_watcher import Watcher
from ..supervisor.report.journal import Journal
from ..supervisor.report.monitoring import watched
from ..supervisor.report.systemd import Systemd, is_journal
from ..supervisor.report.view import announcing
from ..supervisor.restore.lease_record import holder_outside
from ..supervisor.settings import RunSettings
from .options import (
    config_option,
    hours,
    keep_best,
    option,
    retention,
    seconds,
    store_options,
    the_store,
    watch_options,
)

_CODES = "\n".join(f"  {int(code):>2}  {meaning}" for code, meaning in EXIT_MEANINGS.items())


@click.command(
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
    epilog=f"\b\nExit codes:\n{_CODES}",
)
@config_option
@store_options
@option("--run", required=True, metavar="NAME", help="Continue the newest run of this name, or begin one.")
@option("--work-dir", type=click.Path(path_type=Path), default=Path("runs"), help="Where this machine keeps the run.")
@option("--extend", is_flag=True, help="Continue the run even if it is complete (from 3 epochs to 6, say).")
@option(
    "--restore-first",
    is_flag=True,
    help="Start the command only when its checkpoint is here, for a script that reads the files itself.  [default: at"
    " once; holdfast.Resume and holdfast.session wait for the checkpoint]",
)
@seconds("--drain-time", 110.0, "The longest that a stop may take; a notice's own deadline may be sooner.", 1.0)
@option(
    "--rebalance",
    type=click.Choice(["save", "drain", "ignore"]),
    default="save",
    help="What to do on a rebalance recommendation.",
)
@seconds("--poll-interval", 2.0, "How often to look for interruption notices.", 0.01)
@seconds("--lease-wait", 900.0, "How long to wait while another machine holds the run.")
@seconds("--lease-heartbeat", 10.0, "How often the lease is renewed.", 0.05)
@seconds("--lease-expiry", 30.0, "When a silent holder counts as dead.", 0.2)
@seconds("--store-wait", 30.0, "How long to wait at the start for a store that cannot be reached.")
@option("--from", "source", metavar="RUN@STEP", help="Resume from that checkpoint of this run or of another, once.")
@option("--keep-last", type=click.IntRange(1), help="Keep the newest N checkpoints in the store.  [default: all]")
@option("--keep-every", type=click.IntRange(1), help="Keep one checkpoint of every K-th epoch in the store.")
@keep_best("Keep the checkpoint that is best by a metric in the store")
@option("--keep-local", type=click.IntRange(1), default=2, help="Stored checkpoints to keep on this machine.")
@option(
    "--artifacts-limit",
    type=click.IntRange(0),
    default=Limits.total,
    metavar="BYTES",
    help="How much of the run's artifacts/ goes to the store; 0 for nothing.",
)
@seconds("--artifacts-interval", Limits.interval, "How often to look for changed artifacts.", 0.05)
@seconds("--artifacts-wait", Limits.wait, "How long a start may wait for the artifacts of earlier ones.")
@option("--max-restarts", type=click.IntRange(0), default=5, help="Restarts after crashes, in a row without progress.")
@seconds(
    "--stall-timeout", 0.0, "Restart a command that does no batch, uses no CPU and moves no data for so long; 0: never."
)
@hours("--max-hours", "The age at which the run is stopped for good (exit 70), counted over all its machines.")
@option(
    "--on-complete",
    default="none",
    metavar="none|scale-in|COMMAND",
    help="What to do after a complete run.",
)
@option("--on-failure", default="none", metavar="none|scale-in|COMMAND", help="What to do after exits 69, 70 and 78.")
@option(
    "--lifecycle-hook", metavar="GROUP/HOOK", help="The Auto Scaling group's termination hook, completed after a drain."
)
@watch_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(**settings: Any) -> int:
    """Run COMMAND so that its training survives the loss of this machine: restore, train, sync, drain.

    Put the command after '--'. A script that uses holdfast.Resume is asked to save when it has to stop; any other
    command gets SIGTERM.
    """
    client = client_from_environment(os.environ, time.monotonic)
    endings, reaper = _endings(settings), Reaper()
    told = Journal(
        sys.stderr,
        Redactor(os.environ),
        as_json=settings["log_format"] == "json",
        levels=is_journal(sys.stderr, os.environ),
    )
    with contextlib.closing(told) as journal:
        code = Exit.FAILED
        try:
            code = _supervise(settings, client, journal, reaper)
        except HoldfastError as error:
            code = error.exit_code
            raise
        finally:
            outside = _holder_outside(settings, code, endings, journal)
            actions = decide(code, endings, only_here(settings["work_dir"], settings["run"]), outside)
            _end(actions, settings["run"], code, client, journal, reaper)
    return code


def _supervise(settings: dict[str, Any], client: MetadataClient | None, journal: Journal, reaper: Reaper) -> Exit:
    store = Conditional(the_store(dict(settings)), lambda text: journal.event("conditions", text, warning=True))
    run_settings = _settings(settings)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # standard error may be closed, or no real file
        faulthandler.enable()  # a watchdog's SIGABRT shows where the supervisor hung

    def watcher(report: Any) -> Watcher:
        return Watcher(
            client=client,
            report=announcing(journal, report),
            say=lambda kind, text: journal.event(
                kind, text, warning=kind == "metadata-warning", debug=kind == "metadata-refused"
            ),
            drain_time=run_settings.rules.drain_time,
            interval=run_settings.poll_interval,
            rebalance_stands=run_settings.rules.rebalance == "drain",
            expected=is_ec2(Path("/")) or ENDPOINT_VARIABLE in os.environ,
        )

    with watched(journal, run_settings.work_dir, settings):
        return Supervisor(
            run_settings, store, journal, watcher, os.environ, sys.stdout.buffer if sys.stdout else None, reaper
        ).run()


def _holder_outside(settings: dict[str, Any], code: Exit, endings: Endings, journal: Journal) -> bool:
    """Has a machine outside of this one's Auto Scaling group the run? That is said."""
    if code is not Exit.FENCED or endings.hook is None:
        return False
    holder = holder_outside(the_store(dict(settings)), settings["run"], endings.hook.group)
    if holder:
        text = (
            f"the run is trained outside of the Auto Scaling group {endings.hook.group}, by {holder}: give only one of "
            "them this run, or another name to one"
        )
        journal.event("held-outside", text, warning=True)
    return bool(holder)


def _end(
    actions: tuple[Action, ...], name: str, code: Exit, client: MetadataClient | None, journal: Journal, reaper: Reaper
) -> None:
    """Gives the machine back, or does what else the settings say. The next signal ends that."""
    hurry = threading.Event()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # as the supervisor sets it, if it came so far
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: hurry.set())
    closer = Closer(
        Member(client),
        lambda kind, text, bad: journal.event(kind, text, warning=bad),
        os.environ,
        hurry,
        partial(SideCommand, reaper),
        Systemd(os.environ).ending,
    )
    closer.close(name, code, actions)


def _endings(given: dict[str, Any]) -> Endings:
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


def _settings(given: dict[str, Any]) -> RunSettings:
    """Checks all that can be checked before anything is changed. Raises SettingsError."""
    name = given["run"]
    if RunId.parse(name) is None:
        check_name(name)
    if given["lease_heartbeat"] * 2 > given["lease_expiry"]:
        raise SettingsError(
            "--lease-expiry must be at least twice --lease-heartbeat, or a living holder counts as dead"
        )
    return RunSettings(
        name=name,
        work_dir=_writable(given["work_dir"]),
        command=_command(given["command"]),
        extend=given["extend"],
        restore_first=given["restore_first"],
        rules=Rules(drain_time=given["drain_time"], max_restarts=given["max_restarts"], rebalance=given["rebalance"]),
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
    )


def _stall_timeout(given: float) -> float:
    if 0 < given < 1:
        raise SettingsError(f"--stall-timeout {given:g}: give 1 s or more (1800, say), or 0 to never restart it")
    return given


def _command(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command:
        raise SettingsError(
            "no command: give the training command after '--', as in: holdfast run … -- python train.py"
        )
    if shutil.which(command[0]) is None:
        raise SettingsError(
            f"the command {command[0]!r} does not exist or may not be executed; correct it, or give its path"
        )
    return command


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

"""``holdfast run``: the daemon."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..auto.environment import with_hook
from ..core.artifacts import Limits
from ..core.errors import EXIT_MEANINGS, Exit, HoldfastError
from ..core.event_sink import ByteSink
from ..core.redact import Redactor
from ..spool import only_here
from ..store.conditional_write_fallback import Conditional
from ..supervisor.command.notice_hook import NoticeHook, check_command
from ..supervisor.command.reaper import Reaper
from ..supervisor.command.side_command import SideCommand
from ..supervisor.ending.autoscaling import Member
from ..supervisor.ending.on_end import Action, Closer, Endings, decide
from ..supervisor.gang.member import GangMember
from ..supervisor.loop import Supervisor
from ..supervisor.notices.imds import MetadataClient, client_from_environment
from ..supervisor.notices.source import CHOICES
from ..supervisor.report.journal import Journal
from ..supervisor.report.monitoring import watched
from ..supervisor.report.one_console import OneConsole
from ..supervisor.report.systemd import Systemd, is_journal
from ..supervisor.report.termination_message import LastLine, message_file
from ..supervisor.restore.lease_record import holder_outside
from ..supervisor.settings import STAND_BY
from .common.notice_sources import notice_sources
from .common.run_settings import check_apart, endings_of, settings_of
from .options import (
    auto_options,
    config_option,
    gang_options,
    hours,
    keep_best,
    option,
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
@auto_options
@gang_options
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
@option(
    "--notices",
    type=click.Choice(CHOICES),
    default="auto",
    help="Whose metadata service announces interruptions; auto: that of the cloud whose machine this is.",
)
@seconds("--poll-interval", 2.0, "How often to look for interruption notices.", 0.01)
@seconds("--lease-wait", 900.0, "How long to wait while another machine holds the run, and for other ranks.")
@option(
    "--stand-by",
    type=click.Choice(STAND_BY),
    default="off",
    help="When the command's Python imports ahead what its script needs: waiting: while another machine holds the run;"
    " always: also for restarts.",
)
@seconds("--lease-heartbeat", 10.0, "How often the lease is renewed.", 0.05)
@seconds("--lease-expiry", 30.0, "When a silent holder counts as dead.", 0.2)
@seconds("--store-wait", 30.0, "How long to wait at the start for a store that cannot be reached.")
@option("--from", "source", metavar="RUN@STEP", help="Resume from that checkpoint of this run or of another, once.")
@option(
    "--keep-last",
    type=click.IntRange(1),
    help="Keep the newest N checkpoints; 2 or more are safer.  [default: all]",
)
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
@option("--on-notice", metavar="COMMAND", help="A command to run at a notice, beside the drain, for 30 s at most.")
@watch_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(**settings: Any) -> int:
    """Run COMMAND so that its training survives the loss of this machine: restore, train, sync, drain.

    Put the command after '--'. With --auto each Keras fit in it can be resumed; without, each that has holdfast.Resume.
    Such a script is asked to save when it has to stop; any other command gets SIGTERM.
    """
    client = client_from_environment(os.environ, time.monotonic)
    endings, reaper = endings_of(settings), Reaper()
    notice_command = check_command("--on-notice", settings["on_notice"]) if settings["on_notice"] else ()
    console = OneConsole(sys.stdout.buffer if sys.stdout else None, sys.stderr)
    told = Journal(
        console.lines,
        Redactor(os.environ),
        as_json=settings["log_format"] == "json",
        levels=is_journal(sys.stderr, os.environ),
    )
    last_line = LastLine()
    told.listen(last_line.heard)
    with contextlib.closing(told) as journal:
        code = Exit.FAILED
        try:
            with _noticing(notice_command, settings["run"], journal, reaper):
                code = _supervise(settings, client, journal, reaper, console.output)
        except HoldfastError as error:
            code, last_line.text = error.exit_code, str(error)
            raise
        finally:
            last_line.write(message_file(os.environ, settings["termination_message"]), code)
            outside = _holder_outside(settings, code, endings, journal)
            actions = decide(code, endings, only_here(settings["work_dir"], settings["run"]), outside)
            _end(actions, settings["run"], code, client, journal, reaper)
    return code


@contextlib.contextmanager
def _noticing(words: tuple[str, ...], name: str, journal: Journal, reaper: Reaper) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        if words:
            hook = held.enter_context(contextlib.closing(NoticeHook(words, name, os.environ, reaper, journal.event)))
            journal.listen(hook.heard)
        yield


def _supervise(
    settings: dict[str, Any],
    client: MetadataClient | None,
    journal: Journal,
    reaper: Reaper,
    output: ByteSink | None,
) -> Exit:
    opened = the_store(dict(settings))
    check_apart(opened.uri, settings["work_dir"])
    store = Conditional(opened, lambda text: journal.event("conditions", text, warning=True))
    run_settings = settings_of(settings)
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # standard error may be closed, or no real file
        faulthandler.enable()  # a watchdog's SIGABRT shows where the supervisor hung

    sources = notice_sources(settings["notices"], client, run_settings, journal)
    environment = with_hook(os.environ, settings["auto"])
    is_member = run_settings.rank is not None and run_settings.rank.number > 0
    supervisor = GangMember if is_member else Supervisor
    with watched(journal, run_settings.work_dir, settings):
        return supervisor(run_settings, store, journal, sources, environment, output, reaper).run()


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

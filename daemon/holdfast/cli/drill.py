"""``holdfast drill``: shows whether a script resumes exactly."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.artifacts import shown
from ..core.errors import Cancelled, Exit, HoldfastError, SettingsError
from ..core.wording import bytes_text, count
from ..drill.drill import Drill
from ..drill.fake_imds import MetadataService
from ..drill.folder_copy import MOST_BYTES, Deployment, remove
from ..drill.machine_group import Site
from ..drill.plan import KINDS
from ..drill.result import Report
from ..drill.stop_signals import StopSignals
from ..supervisor.command.isolation import check_reachable
from .common.show import unwrapped
from .options import checked_interval

_LAST_LINES = 20
_COMPARED_WITH = ("numpy", "h5py")


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--interruptions", type=click.IntRange(1, 1000), default=3, show_default=True, help="How many.")
@click.option("--kinds", default="notice,sigterm,sigkill", show_default=True, help="Which, separated by commas.")
@click.option(
    "--ranks",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="So many machines train together; each interruption strikes one of them.",
)
@click.option("--seed", type=int, help="Repeats the moments of an earlier drill.  [default: a random one, printed]")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on standard output, for CI.")
@click.option(
    "--share-folder",
    is_flag=True,
    help="All machines run in the present folder. [default: each in a fresh copy of it, as a second machine would]",
)
@click.option(
    "--copy-limit",
    type=click.IntRange(0),
    default=MOST_BYTES,
    show_default=True,
    metavar="BYTES",
    help="How much of the folder is copied for each machine; the rest is linked.",
)
@click.option("--auto", is_flag=True, help="As for holdfast run: no line in the script.")
@click.option("--every", default="epoch", show_default=True, metavar="epoch|N|TIME|auto", help="As for holdfast run.")
@click.option("--quiet", is_flag=True, help="Leave out the training's own output, unless it fails.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def drill(
    interruptions: int,
    kinds: str,
    ranks: int,
    seed: int | None,
    as_json: bool,
    share_folder: bool,
    copy_limit: int,
    auto: bool,
    every: str,
    quiet: bool,
    command: tuple[str, ...],
) -> int:
    """Prove that COMMAND is resumable: run it undisturbed and interrupted, and compare the ends bit for bit.

    Each fit's final state and history are compared, and what is under artifacts/. Each machine begins with an empty
    disk and a copy of the present folder. Put the command after '--'. Exit 0 only if the ends are identical and no
    batch was done twice without need.
    """
    chosen = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    if not chosen or set(chosen) - set(KINDS):
        raise SettingsError(f"--kinds {kinds!r}: give some of {', '.join(KINDS)}, separated by commas")
    if not command or shutil.which(command[0]) is None:
        raise SettingsError("no command that exists: give it after '--', as in: holdfast drill -- python train.py")
    if auto:
        check_reachable(command)
    missing = [name for name in _COMPARED_WITH if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"a drill compares arrays, and holdfast's own environment lacks {' and '.join(missing)} for that: in "
            "holdfast's clone, pip install '.[drill]' (the command's environment is another matter)"
        )
    options = (*(("--auto",) if auto else ()), "--every", checked_interval(every))
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    console = unwrapped(as_json, soft_wrap=True)

    kept: deque[str] = deque(maxlen=_LAST_LINES)

    def show_line(line: str) -> None:
        if quiet:
            kept.append(line)
        else:
            console.print(f"  [dim]│ {escape(line)}[/]")

    def tell(text: str) -> None:
        console.print(f"[bold cyan]drill[/] {escape(text)}")

    with StopSignals() as signals, _folder() as folder:
        try:
            deployment = None if share_folder else _deployment(command, signals.check, copy_limit, Path(folder), tell)
            with contextlib.ExitStack() as held:
                services = [held.enter_context(MetadataService()) for _ in range(ranks)]
                site = Site(command, Path(folder), services, show_line, signals.check, deployment, options)
                report = Drill(site, tell).run(interruptions, chosen, seed)
        except Cancelled:
            raise
        except HoldfastError:  # its text refers to the output
            for line in kept:
                console.print(f"  [dim]│ {escape(line)}[/]")
            raise
    if as_json:
        json.dump(report.to_json(), sys.stdout, indent=1)
        sys.stdout.write("\n")
    show(console, report, quiet)
    return 0 if report.passed else int(Exit.FAILED)


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="holdfast-drill-")
    try:
        yield folder
    finally:
        remove(Path(folder))


def _deployment(
    command: tuple[str, ...], check: Callable[[], None], most: int, own: Path, tell: Callable[[str], None]
) -> Deployment:
    found = Deployment(Path.cwd(), command, check, most, own.resolve())
    tell(f"each machine gets a copy of {found.folder}: {count(found.files, 'file')}, {bytes_text(found.size)}")
    if found.linked:
        names = shown([os.path.relpath(path, found.folder) for path in found.linked])
        tell(f"linked, not copied: {names}; what the script writes there, all machines share (--copy-limit)")
    return found


def show(console: Console, report: Report, quiet: bool) -> None:
    table = Table(
        title=f"\nInterruptions (--seed {report.seed} has the same again)",
        title_justify="left",
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("interruption")
    if report.ranks > 1:
        table.add_column("of rank", justify="right")
    for column in ("planned for batch", "ended after batch", "batches done again", "until the first new batch"):
        table.add_column(column, justify="right")
    for i in report.interruptions:
        rank = [str(i.rank)] if report.ranks > 1 else []
        ended = f"{i.struck} of {report.batches}"
        table.add_row(i.kind, *rank, str(i.planned), ended, str(i.redone), f"{i.recovery:.1f} s")
    if report.interruptions:
        console.print(table)
        console.print(f"\nbatches executed over all starts: {report.executed}; undisturbed: {report.batches}")
    for difference in report.differences[:10]:
        console.print(f"differs: {escape(difference.path)} by up to {difference.largest:g}")
    if len(report.differences) > 10:
        console.print(f"… and {len(report.differences) - 10} more of them differ")
    for text in report.other_differences[:10]:
        console.print(f"differs: {escape(text)}")
    if len(report.other_differences) > 10:
        console.print(f"… and {len(report.other_differences) - 10} more of them differ")
    if report.not_compared:
        names = escape(shown(report.not_compared))
        console.print(f"not compared, as it differs between two undisturbed trainings too: {names}")
    if report.not_kept:
        console.print(f"not kept, and not compared: {escape(shown(report.not_kept))}")
    for note in report.notes:
        console.print(f"note: {escape(note)}")
    for line in report.output if quiet else ():
        console.print(f"  [dim]│ {escape(line)}[/]")
    for problem in report.problems:
        console.print(f"[red]✘[/] {escape(problem)}")
    if report.cause:
        console.print(f"likely cause: {escape(report.cause)}\nremedy: {escape(report.remedy)}")
    if report.passed:
        of = f" ({count(report.fits, 'fit')})" if report.fits > 1 else ""
        console.print(f"[bold green]✔ identical, bit for bit{of}[/]")

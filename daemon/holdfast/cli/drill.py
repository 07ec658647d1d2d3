"""``holdfast drill``."""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from collections import deque
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import Exit, HoldfastError, SettingsError
from ..drill.drill import KINDS, Drill, Report
from ..drill.metadata import MetadataService

_LAST_LINES = 20


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--interruptions", type=click.IntRange(1, 1000), default=3, show_default=True, help="How many.")
@click.option("--kinds", default="notice,sigterm,sigkill", show_default=True, help="Which, separated by commas.")
@click.option("--seed", type=int, help="Repeats the moments of an earlier drill.  [default: a random one, printed]")
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on standard output, for CI.")
@click.option("--quiet", is_flag=True, help="Leave out the training's own output, unless it fails.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def drill(
    interruptions: int, kinds: str, seed: int | None, as_json: bool, quiet: bool, command: tuple[str, ...]
) -> int:
    """Prove that COMMAND is resumable: run it undisturbed and interrupted, and compare the final weights bit for bit.

    Put the command after '--'. Exit 0 only if the ends are identical and no batch was done twice without need.
    """
    chosen = [kind.strip() for kind in kinds.split(",") if kind.strip()]
    if not chosen or set(chosen) - set(KINDS):
        raise SettingsError(f"--kinds {kinds!r}: give some of {', '.join(KINDS)}, separated by commas")
    if not command or shutil.which(command[0]) is None:
        raise SettingsError("no command that exists: give it after '--', as in: holdfast drill -- python train.py")
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)

    kept: deque[str] = deque(maxlen=_LAST_LINES)

    def show(line: str) -> None:
        if quiet:
            kept.append(line)
        else:
            console.print(f"  [dim]│ {escape(line)}[/]")

    def tell(text: str) -> None:
        console.print(f"[bold cyan]drill[/] {escape(text)}")

    def report_of(folder: str) -> Report:
        with MetadataService() as service:
            return Drill(command, Path(folder), service, tell, show).run(interruptions, chosen, seed)

    with tempfile.TemporaryDirectory(prefix="holdfast-drill-") as folder:
        try:
            report = report_of(folder)
        except HoldfastError:  # its text speaks of the output
            for line in kept:
                console.print(f"  [dim]│ {escape(line)}[/]")
            raise
    if as_json:
        json.dump(report.to_json(), sys.stdout, indent=1)
        sys.stdout.write("\n")
    _print(console, report)
    return 0 if report.passed else int(Exit.FAILED)


def _print(console: Console, report: Report) -> None:
    table = Table(
        title=f"\nInterruptions (--seed {report.seed})", title_justify="left", show_edge=False, pad_edge=False
    )
    for column in ("kind", "struck at batch", "batches redone", "first new batch after"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for i in report.interruptions:
        table.add_row(i.kind, f"{i.struck} of {report.batches}", str(i.redone), f"{i.recovery:.1f} s")
    if report.interruptions:
        console.print(table)
        console.print(f"\nbatches executed over all starts: {report.executed}; undisturbed: {report.batches}")
    for difference in report.differences[:10]:
        console.print(f"differs: {escape(difference.path)} by up to {difference.largest:g}")
    if len(report.differences) > 10:
        console.print(f"… and {len(report.differences) - 10} more of them differ")
    for problem in report.problems:
        console.print(f"[red]✘[/] {escape(problem)}")
    if report.cause:
        console.print(f"likely cause: {escape(report.cause)}\nremedy: {escape(report.remedy)}")
    if report.passed:
        console.print("[bold green]✔ identical, bit for bit[/]")

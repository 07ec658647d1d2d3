"""``holdfast status``: what the daemons on this machine are doing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..core.errors import SettingsError
from ..core.machine.events import NoticeStands
from ..core.runs import RunId
from ..core.view import Facts, Mark
from ..core.wording import count
from ..supervisor.notices.handed import HandedNotices, notice_file
from ..supervisor.notices.metadata_http import MetadataError
from ..supervisor.report.status import STATUS_FILE, Status, find
from .common import show
from .common.show import clean
from .options import config_option, option

_MOST_ENDED = 5
_STYLES = {True: "green", False: "red", None: "yellow"}


@click.command()
@config_option
@option("--work-dir", type=click.Path(path_type=Path), default=Path("runs"), help="Where this machine keeps its runs.")
@click.option("--run", "name", metavar="NAME", help="Only the runs of this name, or the run of this id.")
@click.option("--json", "as_json", is_flag=True, help="Print a list for programs and exit.")
@click.option("--once", is_flag=True, help="Print once and exit, on a terminal too.")
@click.option("--watch", is_flag=True, help="Refresh each second, where the output is no terminal too.")
def status(work_dir: Path, name: str | None, as_json: bool, once: bool, watch: bool) -> int:
    """Show what the daemons on this machine are doing: live on a terminal, once elsewhere."""
    if watch and (once or as_json):
        raise SettingsError("--watch shows it again and again: leave out --once and --json")
    if watch or (not as_json and not once and sys.stdout.isatty()):
        _live(work_dir, name, watch)
        return 0
    unreadable: list[str] = []
    found = find(work_dir, name, unreadable.append)
    if name is not None and not found and not unreadable:
        raise SettingsError(nothing(work_dir, name))
    now = time.time()
    if as_json:
        show.as_json([one.to_dict(now) for one in found])
        for run in unreadable:
            show.warn(_unreadable(run))
    else:
        show.out(
            "\n".join(plain(found, now, work_dir, unreadable) if found or unreadable else [nothing(work_dir, name)])
        )
    return 0


def _unreadable(run: str) -> str:
    return f"{run}: its {STATUS_FILE} cannot be read"


def nothing(work_dir: Path, name: str | None) -> str:
    """The message for when no daemon was found; it names the runs that there are."""
    runs = [] if name is None else [one.run for one in find(work_dir)]
    if not runs:
        return f"no daemon has worked under {work_dir} (--work-dir says where to look)"
    return f"--run {name}: no daemon has worked on it under {work_dir}; it has {', '.join(runs[-5:])}"


def _live(work_dir: Path, name: str | None, forced: bool) -> None:
    console = Console(highlight=False, force_terminal=True if forced else None)
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_picture(work_dir, name), refresh=True)
            time.sleep(1.0)


def _picture(work_dir: Path, name: str | None) -> Group | Text:
    unreadable: list[str] = []
    found = find(work_dir, name, unreadable.append)
    if not found and not unreadable:
        return Text(nothing(work_dir, name))
    return _drawn(found, time.time(), work_dir, unreadable)


def head(work_dir: Path) -> str:
    where = work_dir if work_dir.is_absolute() else f"./{work_dir}"
    return f"in {where}; --work-dir looks elsewhere"


def in_full(found: list[Status]) -> list[Status]:
    """Runs to show with all fields: those whose daemon lives or may live, or the only one."""
    return found if len(found) == 1 else [one for one in found if one.alive is not False]


def in_short(found: list[Status], unreadable: Sequence[str]) -> list[str]:
    """A line for each of the other runs, the newest first."""
    full = in_full(found)
    others = sorted((one for one in found if one not in full), key=lambda one: one.facts.began, reverse=True)
    lines = [f"{one.run}: {one.state} at step {one.progress.step}" for one in others]
    more = others[_MOST_ENDED:]
    lines = lines[:_MOST_ENDED] + ([f"and {len(more)} more; --run {more[0].run} shows one"] if more else [])
    return [*lines, *map(_unreadable, sorted(unreadable))]


def plain(found: list[Status], now: float, work_dir: Path, unreadable: Sequence[str] = ()) -> list[str]:
    """Lines of text, one field on each."""
    lines = [head(work_dir)]
    for one in in_full(found):
        lines += ["", *(f"{clean(label)}: {clean(text)}" for label, text in fields(one, now))]
    short = in_short(found, unreadable)
    return lines + (["", *map(clean, short)] if short else [])


def _drawn(found: list[Status], now: float, work_dir: Path, unreadable: Sequence[str]) -> Group:
    tables: list[Table | Text] = [Text(head(work_dir), "dim"), Text()]
    for one in in_full(found):
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for label, text in fields(one, now):
            table.add_row(Text(label, "dim"), Text(clean(text), _STYLES[one.alive] if label == "state" else ""))
        if (share := done(one)) is not None:
            table.add_row(Text(), ProgressBar(1.0, share, 40, complete_style="green", finished_style="green"))
        tables += [table, Text()]
    return Group(*tables, *(Text(clean(line)) for line in in_short(found, unreadable)))


def fields(status: Status, now: float) -> Iterator[tuple[str, str]]:
    """Labels and texts of a run, the most important first."""
    facts, progress = status.facts, status.progress
    yield "run", status.run
    waits = status.alive is not False and facts.waiting is not None
    yield "state", status.state + (f", process {status.daemon}" if status.alive else "")
    if waits and facts.waiting is not None:
        yield "waits", facts.waiting.removeprefix("waiting ")
    if progress.executed or facts.counts.get("started"):
        yield "at", _where(status)
    if not waits:
        noted = "" if facts.ended or status.alive is not False else ", as of its last event"
        yield "saved", _at(facts.saved, facts, now) + noted
        yield "stored", _at(facts.stored, facts, now) + noted
    if facts.at_risk is not None and facts.interval is not None and not facts.ended:
        lost = f"at most {facts.at_risk:.0f} s of training would be lost to a SIGKILL now"
        yield "interval", f"{facts.interval:.0f} s; {lost}"
    if status.owed or not waits:
        yield "to store", count(status.owed, "checkpoint") if status.owed else "nothing"
    if facts.stopping and not facts.ended:
        left = "" if facts.until is None else f", {max(0.0, facts.until - now):.0f} s are left"
        yield "stopping", f"{facts.stopping}{left}"
    if (kept := _kept_notice(status, now)) is not None:
        yield "notice", f"{kept.what}: a start waits {kept.until}"
    elif facts.notice:
        yield "notice", facts.notice
    if facts.pid is not None and status.alive is not False:
        yield "command", f"process {facts.pid}, {count(facts.restarts, 'restart')}"
    if facts.ranks and not facts.ended:
        yield (
            "ranks",
            "; ".join(f"{rank}: {host}" for rank, host in sorted(facts.ranks.items(), key=lambda one: one[0])),
        )
    if facts.orphans:
        yield "orphans", f"{count(facts.orphans, 'process was', 'processes were')} left behind and reaped"
    if status.useful_batches is not None:
        share = f"{100 - 100 * status.useful_batches:.1f} %"
        yield "done twice", "no batch of this start" if share == "0.0 %" else f"{share} of this start's batches"
    if facts.incarnation is not None:
        yield "start", f"number {facts.incarnation} of this run"
    if facts.warning and facts.warned is not None:
        yield "last warning", f"{_age(now - facts.warned)} ago: {facts.warning}"


def _kept_notice(status: Status, now: float) -> NoticeStands | None:
    """What was handed in, once the daemon is gone: one that waits for its end has no folder of its own yet."""
    run = RunId.parse(status.run)
    if run is None or not (status.facts.ended or status.alive is False):
        return None
    with contextlib.suppress(MetadataError):  # the next start names it
        return HandedNotices(notice_file(status.folder.parent, run.name), lambda: now).ask()
    return None


def _where(status: Status) -> str:
    """A daemon that is gone makes no progress, so nothing is said of the time that is left."""
    lives = status.alive is not False and not status.facts.ended
    course = status.facts.course if lives else replace(status.facts.course, batch_seconds=None)
    if not status.progress.executed:
        return "no batch on this machine yet"
    return f"{course.text(status.progress.epoch, status.progress.batch)}, step {status.progress.step}"


def done(status: Status) -> float | None:
    """The share of the training that is done, if that is known."""
    return status.facts.course.share(status.progress.epoch, status.progress.batch)


def _at(mark: Mark | None, facts: Facts, now: float) -> str:
    if mark is not None:
        return f"step {mark.step}, {_age(now - mark.at)} ago"
    if not facts.found:
        return "not known before the run's pairs are looked at"
    return "nothing by this start yet" if facts.counts.get("restored") else "nothing yet"


def _age(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

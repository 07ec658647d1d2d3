"""``holdfast notice``: hands an interruption notice to the daemons on this machine."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path

import click

from ..core.errors import Exit, SettingsError
from ..core.runs import RunId
from ..spool import write_whole
from ..supervisor.notices.handed import Handed, is_kind, notice_file, take_back
from ..supervisor.report.status import STATUS_FILE, Status, find
from .common import show
from .options import config_option, option
from .status import nothing

_PATIENCE = 5.0
_LOOK = 0.1
_SECONDS = re.compile(r"\d{1,7}(\.\d*)?")


@click.command()
@config_option
@option("--work-dir", type=click.Path(path_type=Path), default=Path("runs"), help="Where this machine keeps its runs.")
@click.option("--run", "name", metavar="NAME", help="The daemon of this run.  [default: all that are at work]")
@click.option("--kind", default="notice", metavar="TEXT", help="What it is, for people and metrics (spot terminate).")
@click.option("--deadline", metavar="T", help="When the machine goes away: seconds from now, or a time (ISO 8601).")
@click.option("--over", is_flag=True, help="Take back what was handed in before, here or to --run.")
def notice(work_dir: Path, name: str | None, kind: str, deadline: str | None, over: bool) -> int:
    """Hand an interruption notice to the daemons on this machine, as if its metadata service had announced it.

    Each drains: it saves, stores and ends with 75. Until the notice is over, a start on this machine waits.
    """
    if not is_kind(kind):
        raise SettingsError(f"--kind {kind!r}: give a short text without parentheses, as 'spot terminate'")
    at = _deadline(deadline)
    try:
        if over:
            _take_back(work_dir, name)
            return 0
        return _hand_in(work_dir, _names(work_dir, name), Handed(kind, at))
    except OSError as error:
        raise SettingsError(f"--work-dir {work_dir}: {error.strerror}; give the daemon's, as its user") from None


def _take_back(work_dir: Path, name: str | None) -> None:
    """Whether a daemon lives or not: a start may wait that has no folder yet."""
    if not work_dir.is_dir():
        raise SettingsError(f"--work-dir {work_dir}: there is no such folder; give the daemon's")
    taken = take_back(work_dir, None if name is None else _bare(name))
    if taken:
        show.say(f"taken back: {', '.join(taken)}")
    elif name is None:
        show.say(f"no notice is handed in under {work_dir}")
    else:
        _check_known(work_dir, name)
        show.say(f"no notice to {_bare(name)} is handed in under {work_dir}")


def _hand_in(work_dir: Path, names: list[str], handed: Handed) -> int:
    since = time.time() - 1.0
    for one in names:
        write_whole(notice_file(work_dir, one), handed.to_json(), durable=False)
    until = time.monotonic() + _PATIENCE
    waiting = set(names)
    while waiting and time.monotonic() < until:
        waiting -= {one for one in waiting if any(_knows(status, since) for status in find(work_dir, one))}
        time.sleep(_LOOK if waiting else 0.0)
    for one in sorted(set(names) - waiting):
        show.say(f"the daemon of {one} knows that {handed.kind}")
    for one in sorted(waiting):
        waits = f"a start of it waits {handed.until(work_dir)}"
        show.warn(f"no daemon of {one} works in {work_dir} now; the notice is kept, and {waits}")
    return int(Exit.FAILED) if waiting else 0


def _names(work_dir: Path, name: str | None) -> list[str]:
    if name is not None:
        _check_known(work_dir, name)
        return [_bare(name)]
    living = {RunId.parse(status.run) for status in find(work_dir) if status.alive is not False}
    names = sorted({run.name for run in living if run is not None})
    if not names:
        raise SettingsError(f"no daemon works under {work_dir} (--work-dir says where to look, --run for which run)")
    return names


def _bare(name: str) -> str:
    """``--run`` without its number."""
    run = RunId.parse(name)
    return name if run is None else run.name


def _check_known(work_dir: Path, name: str) -> None:
    """Raises SettingsError, which names the runs that are there."""
    unreadable: list[str] = []
    if not find(work_dir, name, unreadable.append) and not unreadable:
        raise SettingsError(nothing(work_dir, name))


def _knows(status: Status, since: float) -> bool:
    """One that drained at once may have ended by now: then its status is younger than the notice."""
    if "hand" not in status.facts.standing:
        return False
    return status.alive is not False or (status.folder / STATUS_FILE).stat().st_mtime >= since


def _deadline(text: str | None) -> float | None:
    """A Unix time. Raises SettingsError."""
    if text is None:
        return None
    if _SECONDS.fullmatch(text):
        return time.time() + float(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"--deadline {text!r}: give seconds from now (120), or a time, as in 2026-11-22T16:19:15Z"
        ) from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()

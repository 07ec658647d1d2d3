"""``holdfast report``: a run as a page, as JSON, or in a few lines."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..core.errors import SettingsError
from ..core.history.spans import KINDS
from ..core.wording import count, duration_text
from ..inspect.report.cost import Prices
from ..inspect.report.document import document
from ..inspect.report.page import page
from ..inspect.report.read import read
from ..inspect.report.verdict import AT_LEAST
from ..spool import write_whole
from .common import show
from .common.shared import as_json_option, chosen_run, run_argument, store_to_read
from .options import config_option, price, store_options


@click.command()
@config_option
@store_options
@as_json_option
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the page there.")
@price("--price-spot", "What a spot machine costs an hour, for what the run cost.")
@price("--price-on-demand", "What it costs on demand, for what was saved.")
@run_argument
def report(
    run: str | None,
    html: Path | None,
    as_json: bool,
    price_spot: float | None,
    price_on_demand: float | None,
    **settings: Any,
) -> int:
    """Report on RUN (a name or a run id; else the newest) from the store alone: machines, interruptions, time, cost.

    The page is one file that needs no network. Without --html and --json a few lines are printed.
    """
    store = store_to_read(settings)
    found = document(read(store, chosen_run(store, run)), time.time(), Prices(price_spot, price_on_demand))
    if html is not None:
        _write(html, page(found))
    if as_json:
        show.as_json(found)
    else:
        show.out("\n".join(map(show.clean, _lines(found))))
        show.say(f"the page is {html}" if html is not None else "--html FILE makes a page of it, with lanes and curves")
    return 0


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode(), durable=False)
    except OSError as error:
        raise SettingsError(f"--html {path}: {error.strerror}; give a file in a folder that is there") from None


def _lines(found: Mapping[str, Any]) -> list[str]:
    lines = [f"{found['run']} is {found['verdict']}" if found["starts"] else f"{found['run']}: {found['verdict']}"]
    goodput, cost = found["goodput"], found["cost"]
    if goodput["runtime"] is not None:
        overall = "" if goodput["overall"] is None else f", {100 * goodput['overall']:.1f} % of the run's time"
        lines.append(f"goodput: {100 * goodput['runtime']:.1f} % of the time with a machine{overall}")
    elif found["state"] == "running":
        lines.append("goodput: not known yet")
    spent = [(KINDS[kind][0], duration_text(found["seconds"].get(kind, 0.0))) for kind in KINDS]
    parts = [f"{label} {text}" for label, text in spent if text != duration_text(0.0)]
    lines += [f"time: {', '.join(parts)}"] if parts else []
    if cost is not None:
        least, most = (AT_LEAST, "at most ") if found["untold"] else ("", "")
        told = [
            "" if cost["spot"] is None else f"{least}{cost['spot']:.2f} for {least}{cost['hours']:.2f} h",
            "" if cost["on_demand"] is None else f"{cost['on_demand']:.2f} on demand, undisturbed",
            "" if cost["saved"] is None else f"saved {most}{cost['saved']:.2f}",
        ]
        lines.append(f"cost: {', '.join(part for part in told if part)}")
    for one in found["interruptions"][-5:]:
        least = AT_LEAST if one["at_least"] else ""
        lost = f"; {least}{count(one['again'], 'batch', 'batches')} done again" if least or one["again"] else ""
        lines.append(f"interruption of start {one['start']}: {one['reason']}{lost}")
    return lines

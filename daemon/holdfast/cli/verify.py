"""``holdfast verify``: checks every byte of a run's checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..core.errors import Exit, SettingsError
from ..core.wording import bytes_text, count
from ..inspect.verify import Verdict, check_pair
from ..store import Store
from ..store.catalog import existing_run, list_runs, read_contents
from ..store.contents import Contents, Listed
from .common import show
from .common.shared import as_json_option, name_json, no_such_step, run_argument, scratch, store_to_read
from .options import config_option, store_options


@click.command()
@config_option
@store_options
@as_json_option
@click.option("--newest", is_flag=True, help="Check the newest checkpoint of each run only.")
@click.option("--step", type=click.IntRange(0), help="Check the checkpoints of this step only.")
@run_argument
def verify(run: str | None, newest: bool, step: int | None, as_json: bool, **settings: Any) -> int:
    """Check every byte of the checkpoints of RUN (a name or a run id), or of all runs, against their manifests.

    Exit 0 if all are whole, 65 if any is damaged. One file at a time is fetched to TMPDIR.
    """
    if newest and step is not None:
        raise SettingsError("--newest and --step: give one of them")
    store = store_to_read(settings)
    runs = [existing_run(store, run)] if run else sorted(list_runs(store))
    listings = [read_contents(store, found) for found in runs]
    chosen = [_chosen(contents, newest, step) for contents in listings]
    if step is not None and not any(contents.pairs for contents in chosen):
        if len(listings) == 1:
            raise no_such_step(listings[0], step)
        raise SettingsError(f"--step {step}: there is no checkpoint of that step")
    verdicts: list[list[Verdict]] = []
    total = sum(listed.size for contents in chosen for listed in contents.pairs)
    with scratch() as folder, show.progress("verify", total) as advance:
        for contents in chosen:
            verdicts.append(_check(store, contents, folder, advance, as_json))
    damaged = sum(verdict.status == "damaged" for of_run in verdicts for verdict in of_run)
    if as_json:
        found = [_json(contents, of_run) for contents, of_run in zip(chosen, verdicts, strict=True)]
        show.as_json({"store": store.uri, "damaged": damaged, "runs": found})
    elif not chosen:
        show.say(f"there are no runs in {store.uri}")
    return int(Exit.DAMAGED) if damaged else 0


def _chosen(contents: Contents, newest: bool, step: int | None) -> Contents:
    pairs: Sequence[Listed] = contents.pairs[:1] if newest else contents.pairs
    if step is not None:
        pairs = [listed for listed in pairs if listed.name.step == step]
    return replace(contents, pairs=tuple(pairs))


def _check(store: Store, contents: Contents, folder: Path, advance: show.Advance, quiet: bool) -> list[Verdict]:
    """Prints each result as soon as it is known: the next pair may take minutes."""
    verdicts = []
    for listed in contents.pairs:
        verdict = check_pair(store, contents.run, listed, folder, advance)
        verdicts.append(verdict)
        if not quiet:
            text = "; ".join(verdict.problems) or f"{verdict.status}, {bytes_text(verdict.size)}"
            label = "damaged: " if verdict.problems else ""
            show.out(show.clean(f"{contents.run}/{verdict.name}: {label}{text}"))
    if not quiet:
        for orphan in contents.orphans:
            show.out(f"{contents.run}/{orphan.name}: data without a manifest, {bytes_text(orphan.size)}: no checkpoint")
        show.out(_summary(contents, verdicts))
    return verdicts


def _summary(contents: Contents, verdicts: list[Verdict]) -> str:
    counts = {status: sum(v.status == status for v in verdicts) for status in ("whole", "damaged", "removed")}
    size = bytes_text(sum(verdict.size for verdict in verdicts))
    removed = f", {counts['removed']} removed meanwhile" if counts["removed"] else ""
    without = f"; {len(contents.orphans)} without a manifest" if contents.orphans else ""
    return (
        f"{contents.run}: {count(len(verdicts), 'checkpoint')}, {size}: "
        f"{counts['whole']} whole, {counts['damaged']} damaged{removed}{without}"
    )


def _json(contents: Contents, verdicts: list[Verdict]) -> dict[str, Any]:
    return {
        "run": str(contents.run),
        "whole": sum(verdict.status == "whole" for verdict in verdicts),
        "damaged": sum(verdict.status == "damaged" for verdict in verdicts),
        "checkpoints": [
            {**name_json(v.name), "size": v.size, "status": v.status, "problems": list(v.problems)} for v in verdicts
        ],
        "orphans": [
            {**name_json(orphan.name), "size": orphan.size, "missing": list(orphan.missing)}
            for orphan in contents.orphans
        ],
    }

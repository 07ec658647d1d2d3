"""``holdfast ls``: lists runs, and the checkpoints of one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import click

from ..core.checkpoint_name import CheckpointName
from ..core.manifest import Manifest
from ..core.runs import RunId
from ..core.wording import bytes_text, count
from ..store import Store
from ..store.catalog import existing_run, list_runs, newest_manifests, read_contents
from ..store.contents import Contents, Listed
from .common import show
from .common.shared import as_json_option, name_json, store_to_read
from .common.show import Column
from .options import config_option, store_options

_LISTERS = 8
_RUNS = (
    Column("run", style="bold"),
    Column("state"),
    Column("pairs", right=True),
    Column("epoch", right=True),
    Column("step", right=True),
    Column("loss", right=True),
    Column("size", right=True),
    Column("begun"),
    Column("last write"),
)
_FIT = Column("fit", right=True)
_CHECKPOINTS = (
    Column("epoch", right=True),
    Column("step", right=True),
    Column("loss", right=True),
    Column("incarnation", right=True),
    Column("save", right=True),
    Column("size", right=True),
    Column("stored"),
    Column("state"),
)


@click.command()
@config_option
@store_options
@as_json_option
@click.argument("which", required=False, metavar="[RUN]")
def ls(which: str | None, as_json: bool, **settings: Any) -> int:
    """List the runs of a store, or the checkpoints of RUN (a name or a run id), newest first.

    It reads listings only, and of RUN the manifests of its newest checkpoints.
    """
    store = store_to_read(settings)
    if which is None:
        _runs(store, as_json)
    else:
        _checkpoints(store, _contents(store, which), as_json)
    return 0


def _contents(store: Store, which: str) -> Contents:
    """A run given by its id takes one listing; one given by its name needs another to find it."""
    run = RunId.parse(which)
    contents = None if run is None else read_contents(store, run)
    return contents if contents and not contents.empty else read_contents(store, existing_run(store, which))


def _runs(store: Store, as_json: bool) -> None:
    newest_first = sorted(list_runs(store), reverse=True)
    with ThreadPoolExecutor(_LISTERS) as pool:
        found = list(pool.map(lambda run: read_contents(store, run), newest_first))
    if as_json:
        show.as_json({"store": store.uri, "runs": [_run_json(contents) for contents in found]})
    elif found:
        show.table(_RUNS, [_run_row(contents) for contents in found])
    else:
        show.say(f"there are no runs in {store.uri}")


def _run_json(contents: Contents) -> dict[str, Any]:
    return {
        "run": str(contents.run),
        "number": contents.run.number,
        "name": contents.run.name,
        "complete": contents.complete,
        "pairs": len(contents.pairs),
        "newest": name_json(contents.pairs[0].name) if contents.pairs else None,
        "size": contents.size,
        "begun": _iso(contents.begun),
        "changed": _iso(contents.changed),
    }


def _run_row(contents: Contents) -> list[str]:
    newest = _numbers(contents.pairs[0].name) if contents.pairs else ["", "", ""]
    state = "complete" if contents.complete else "not complete"
    dates = [_date(contents.begun), _date(contents.changed)]
    return [str(contents.run), state, str(len(contents.pairs)), *newest, bytes_text(contents.size), *dates]


def _fits(store: Store, contents: Contents) -> dict[CheckpointName, int]:
    """By checkpoint, as far as its manifest can be read: the number of its training among those of the run."""
    found = newest_manifests(store, contents)
    return {name: manifest.fit for name, manifest in found.items() if isinstance(manifest, Manifest)}


def _checkpoints(store: Store, contents: Contents, as_json: bool) -> None:
    fits = _fits(store, contents)
    if as_json:
        show.as_json(
            {
                "store": store.uri,
                "run": str(contents.run),
                "complete": contents.complete,
                "size": contents.size,
                "begun": _iso(contents.begun),
                "changed": _iso(contents.changed),
                "checkpoints": [
                    {
                        **_checkpoint_json(listed),
                        "stored": _iso(contents.stored(listed)),
                        "fit": fits.get(listed.name),
                    }
                    for listed in contents.pairs
                ],
                "orphans": [_checkpoint_json(listed) for listed in contents.orphans],
            }
        )
        return
    if contents.pairs:
        several = any(fit > 1 for fit in fits.values())
        rows = [
            [
                *([str(fits.get(listed.name, ""))] if several else []),
                *_checkpoint_row(listed, contents.stored(listed)),
            ]
            for listed in contents.pairs
        ]
        show.table((*((_FIT,) if several else ()), *_CHECKPOINTS), rows)
    state = "complete" if contents.complete else "not complete"
    show.say(
        f"{contents.run} is {state}: {count(len(contents.pairs), 'checkpoint')}, {bytes_text(contents.size)} in all"
    )
    if contents.orphans:
        size = bytes_text(sum(orphan.size for orphan in contents.orphans))
        show.say(
            f"data of {len(contents.orphans)} more without a manifest ({size}): being uploaded, or left by a crash"
        )


def _checkpoint_json(listed: Listed) -> dict[str, Any]:
    return {**name_json(listed.name), "size": listed.size, "missing": list(listed.missing)}


def _checkpoint_row(listed: Listed, stored: datetime | None) -> list[str]:
    name = listed.name
    incomplete = f"incomplete: no .{' and no .'.join(listed.missing)}" if listed.missing else ""
    state = incomplete or ("" if name.finite else "not finite")
    return [*_numbers(name), str(name.incarnation), str(name.save), bytes_text(listed.size), _date(stored), state]


def _date(at: datetime | None) -> str:
    """For people, in this machine's time zone."""
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M}"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds")


def _numbers(name: CheckpointName) -> list[str]:
    return [str(name.epoch), str(name.step), "" if name.loss == "none" else name.loss]

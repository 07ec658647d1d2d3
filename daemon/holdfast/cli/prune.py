"""``holdfast prune``: removes old checkpoints from a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ..core.errors import SettingsError
from ..core.policy import Retention
from ..core.wording import bytes_text, count
from ..inspect.prune import Pruning, plan, remove
from ..store.catalog import existing_run, read_contents
from ..store.contents import Listed
from .common import show
from .common.shared import as_json_option, name_json, scratch, store_to_read
from .common.show import Column
from .options import config_option, keep_best, option, retention, store_options

F = TypeVar("F", bound=Callable[..., Any])
_COLUMNS = (
    Column("checkpoint"),
    Column("size", right=True),
    Column("what"),
)


def retention_options(function: F) -> F:
    for decorate in (
        keep_best("Keep the pair that is best by a metric"),
        option("--keep-every", type=click.IntRange(1), metavar="K", help="Keep a pair of each K-th epoch."),
        option("--keep-last", type=click.IntRange(1), metavar="N", help="Keep the newest N pairs."),
    ):
        function = decorate(function)
    return function


def retention_of(settings: dict[str, Any]) -> Retention:
    """Takes the retention options out of ``settings``."""
    last, every, best = (settings.pop(name) for name in ("keep_last", "keep_every", "keep_best"))
    return retention(last, every, best)


@click.command()
@config_option
@store_options
@as_json_option
@retention_options
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.argument("run", metavar="RUN")
def prune(run: str, dry_run: bool, as_json: bool, **settings: Any) -> int:
    """Remove the checkpoints of RUN (a name or a run id) that no --keep option keeps, and data without a manifest.

    It may run during a training. The newest valid checkpoint is always kept.
    """
    policy = retention_of(settings)
    if policy.unlimited:
        raise SettingsError("say what to keep: --keep-last N, --keep-every K or --keep-best METRIC, or several of them")
    store = store_to_read(settings)
    contents = read_contents(store, existing_run(store, run))
    with (
        scratch() as folder,
        show.progress("checking the newest", contents.pairs[0].size if contents.pairs else 0) as at,
    ):
        pruning = plan(store, contents, policy, folder, show.warn, at)
    removed: list[Listed] = []
    if not dry_run:
        remove(store, contents, pruning, removed.append)
    gone = [*pruning.orphans, *pruning.pairs] if dry_run else removed
    if as_json:
        show.as_json(_json(store.uri, str(contents.run), pruning, gone, len(contents.pairs), dry_run))
    else:
        _tell(str(contents.run), pruning, gone, len(contents.pairs), dry_run)
    return 0


def _tell(run: str, pruning: Pruning, gone: list[Listed], pairs: int, dry_run: bool) -> None:
    if gone:
        show.table(_COLUMNS, [_row(listed) for listed in gone])
    size = bytes_text(sum(listed.whole_size for listed in gone))
    whole = sum("json" in listed.sizes for listed in gone)
    rest = f" and {len(gone) - whole} without a manifest" if len(gone) > whole else ""
    verb = "would be removed" if dry_run else "removed"
    show.say(f"{run}: {whole} of {count(pairs, 'checkpoint')}{rest} {verb}, {size}")
    if pruning.held_orphans:
        show.say(
            f"data of {len(pruning.held_orphans)} without a manifest stay: a machine holds the run's lease and may be "
            "uploading them; prune again when the run has stopped"
        )


def _row(listed: Listed) -> list[str]:
    what = "pair" if "json" in listed.sizes else "data without a manifest"
    return [str(listed.name), bytes_text(listed.whole_size), what]


def _json(uri: str, run: str, pruning: Pruning, gone: list[Listed], pairs: int, dry_run: bool) -> dict[str, Any]:
    return {
        "store": uri,
        "run": run,
        "dry_run": dry_run,
        "checkpoints": pairs,
        "removed": [_entry(listed) for listed in gone if "json" in listed.sizes],
        "orphans": [_entry(listed) for listed in gone if "json" not in listed.sizes],
        "held_orphans": [_entry(listed) for listed in pruning.held_orphans],
        "size": sum(listed.whole_size for listed in gone),
    }


def _entry(listed: Listed) -> dict[str, Any]:
    return {**name_json(listed.name), "size": listed.whole_size}

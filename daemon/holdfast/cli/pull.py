"""``holdfast pull``: fetches the newest valid checkpoint of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.errors import Exit, HoldfastError, SettingsError
from ..core.manifest import Manifest
from ..core.wording import bytes_text, count
from ..inspect.pull import Pulled, Puller
from ..inspect.pull_artifacts import pull_artifacts
from ..store import Store
from ..store.catalog import read_contents
from ..store.contents import Contents, Listed
from .common import show
from .common.shared import as_json_option, chosen_run, name_json, no_such_step, run_argument, store_to_read
from .options import config_option, store_options


class NothingValid(HoldfastError):
    """No checkpoint that was asked for is there and valid."""

    exit_code = Exit.DAMAGED


@click.command()
@config_option
@store_options
@as_json_option
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The run's folder is made in this one.  [default: here]",
)
@click.option("--all", "everything", is_flag=True, help="Every checkpoint, not only the newest valid one.")
@click.option("--step", type=click.IntRange(0), help="The newest valid checkpoint of this step.")
@run_argument
def pull(run: str | None, to: Path, everything: bool, step: int | None, as_json: bool, **settings: Any) -> int:
    """Download the newest valid checkpoint of RUN, its logs and its artifacts.

    RUN is a name or a run id; without it, the run that was begun last. Files that are here already are not downloaded
    again.
    Exit 65 if what was asked for is damaged, or there is no checkpoint yet.
    """
    if everything and step is not None:
        raise SettingsError("--all and --step: give one of them")
    store = store_to_read(settings)
    contents = read_contents(store, chosen_run(store, run))
    candidates = _candidates(contents, everything, step)
    try:
        result = _pull(store, contents, candidates, to / str(contents.run), everything)
    except OSError as error:
        raise SettingsError(f"--to {to}: {error.strerror} ({error.filename})") from None
    if as_json:
        show.as_json(_json(store, contents, result))
    else:
        _tell(contents, result)
    if candidates and not result.pairs:
        raise NothingValid(f"of {count(len(candidates), 'matching checkpoint')}, none is valid")
    if not candidates:
        raise NothingValid(f"{contents.run} has no checkpoint that could be restored yet")
    return int(Exit.DAMAGED) if everything and result.damaged else 0


def _candidates(contents: Contents, everything: bool, step: int | None) -> list[Listed]:
    """Newest first. Pairs that a restart would skip are left out, unless the user asked for them."""
    if everything:
        return list(contents.pairs)
    if step is not None:
        found = [listed for listed in contents.pairs if listed.name.step == step]
        if not found:
            raise no_such_step(contents, step)
        return found
    for listed in contents.pairs:
        if listed.name.finite:
            break
        show.warn(f"{listed.name}: passed over, its loss is not finite")
    return [listed for listed in contents.pairs if listed.name.finite]


def _pull(store: Store, contents: Contents, candidates: list[Listed], folder: Path, everything: bool) -> Pulled:
    size = sum(listed.size for listed in (candidates if everything else candidates[:1]))
    with show.progress("pull", size) as advance:
        puller = Puller(store, contents, folder, show.warn, advance)
        puller.files()
        if everything:
            puller.every(candidates)
        else:
            puller.newest(candidates)
        pull_artifacts(store, contents, folder, puller.result, show.warn, advance)
    return puller.result


def _tell(contents: Contents, result: Pulled) -> None:
    show.out(show.clean(str(result.folder)))
    for manifest in result.pairs:
        show.out(f"  {manifest.name}  {bytes_text(manifest.size)}")
    show.say(f"{contents.run}: {count(result.fetched, 'file')} fetched, {result.present} here already")
    if result.pairs:
        show.say(f"to open it: {opening(result.folder, result.pairs[0])}")


def opening(folder: Path, manifest: Manifest) -> str:
    """The line of Python that opens the pair's .h5."""
    path = str(folder.absolute() / manifest.name.file("h5"))
    if manifest.kind == "model":
        return f"keras.models.load_model({path!r}, compile=False)"
    if manifest.kind == "weights":
        return f"model.load_weights({path!r})  # into the model that the script builds"
    return f"h5py.File({path!r})"


def _json(store: Store, contents: Contents, result: Pulled) -> dict[str, Any]:
    return {
        "store": store.uri,
        "run": str(contents.run),
        "folder": str(result.folder.absolute()),
        "checkpoints": [
            {
                **name_json(manifest.name),
                "size": manifest.size,
                "kind": manifest.kind,
                "h5": str(result.folder.absolute() / manifest.name.file("h5")),
                "open": opening(result.folder, manifest),
            }
            for manifest in result.pairs
        ],
        "damaged": [str(listed.name) for listed in result.damaged],
        "fetched": result.fetched,
        "present": result.present,
    }

"""What the commands that read a store share."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ...core.checkpoint_name import CheckpointName
from ...core.errors import SettingsError
from ...core.runs import RunId
from ...store import HasFolder, Store
from ...store.catalog import existing_run, newest_run
from ...store.contents import Contents
from ...store.retrying import PatientStore
from ..options import the_store

as_json_option = click.option("--json", "as_json", is_flag=True, help="The result as JSON on standard output.")
run_argument = click.argument("run", required=False, metavar="[RUN]", envvar="HOLDFAST_RUN")


def patient_store(settings: dict[str, Any]) -> Store:
    """Takes the store options out of ``settings``."""
    return PatientStore(the_store(settings))


def store_to_read(settings: dict[str, Any]) -> Store:
    """Takes the store options out of ``settings``. Raises SettingsError for a folder that does not exist: that is a
    wrong path, or a disk that is not mounted, and not an empty store.
    """
    return PatientStore(to_be_there(the_store(settings)))


def to_be_there(store: Store) -> Store:
    """The same store. Raises SettingsError for a folder that is not there."""
    if isinstance(store, HasFolder) and store.missing():
        raise SettingsError(
            f"there are no runs in {store.uri}: "
            "there is no such folder; correct --store, or begin a run with holdfast run"
        )
    return store


def chosen_run(store: Store, given: str | None) -> RunId:
    """The given run, or else the one that was begun last."""
    return existing_run(store, given) if given else newest_run(store)


def no_such_step(contents: Contents, step: int) -> SettingsError:
    """The error for a step of which a run has no checkpoint; it names the steps that there are."""
    steps = sorted({listed.name.step for listed in contents.pairs}, reverse=True)
    some = ", ".join(map(str, steps[:5])) + (" …" if len(steps) > 5 else "")
    return SettingsError(f"--step {step}: {contents.run} has no such checkpoint; its steps are {some or 'none'}")


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one file at a time, on the disk that TMPDIR names."""
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        yield Path(folder)


def name_json(name: CheckpointName) -> dict[str, Any]:
    """A checkpoint's name, taken apart. ``loss`` is null where none is known or it is not finite."""
    return {
        "name": str(name),
        "epoch": name.epoch,
        "step": name.step,
        "loss": float(name.loss) if name.finite and name.loss != "none" else None,
        "finite": name.finite,
        "incarnation": name.incarnation,
        "save": name.save,
    }
